//! Where webhooks may lead. A server stands inside a network that people who write webhooks do not;
//! without this they could make it call machines there, and read the answers in the history.
//!
//! An address is looked at when a connection is about to be made to it, and the connection goes to
//! that very address: a name that answers something else the next time gains nothing. A host that
//! is written as an address is not looked up by the client, so it is looked at before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use futures::future::BoxFuture;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Networks that webhooks may lead to although they are not public.
#[derive(Clone, Debug, Default)]
pub struct AllowedNetworks(Vec<IpNet>);

impl FromStr for AllowedNetworks {
    type Err = String;

    /// Addresses and networks, with commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let network = |part: &str| {
            let single = part.parse().map(|address: IpAddr| address.to_canonical().into());
            single
                .or_else(|_| part.parse::<IpNet>())
                .map_err(|_| format!("`{part}` is no address and no network such as 10.0.0.0/8"))
        };
        parts.map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl AllowedNetworks {
    /// Why nothing may be sent to an address.
    fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        if self.0.iter().any(|network| network.contains(&address)) {
            return None;
        }
        match address {
            IpAddr::V4(address) => refusal_v4(address),
            IpAddr::V6(address) => refusal_v6(address),
        }
    }
}

/// IANA's special-purpose addresses, and the one public address that is a cloud's metadata service.
fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    const SPECIAL: [(Ipv4Net, &str); 14] = [
        (v4([0, 0, 0, 0], 8), "an unspecified address"),
        (v4([10, 0, 0, 0], 8), "a private address"),
        (v4([100, 64, 0, 0], 10), "a private address"),
        (v4([127, 0, 0, 0], 8), "a loopback address"),
        (v4([168, 63, 129, 16], 32), "a cloud's metadata service"),
        (v4([169, 254, 0, 0], 16), "a link-local address, where clouds have their metadata"),
        (v4([172, 16, 0, 0], 12), "a private address"),
        (v4([192, 0, 0, 0], 24), "a reserved address"),
        (v4([192, 0, 2, 0], 24), "a reserved address"),
        (v4([192, 168, 0, 0], 16), "a private address"),
        (v4([198, 18, 0, 0], 15), "a reserved address"),
        (v4([198, 51, 100, 0], 24), "a reserved address"),
        (v4([203, 0, 113, 0], 24), "a reserved address"),
        // Multicast, reserved and broadcast.
        (v4([224, 0, 0, 0], 3), "a multicast or reserved address"),
    ];
    SPECIAL.iter().find(|(network, _)| network.contains(&address)).map(|(_, reason)| *reason)
}

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// Only what is given out as global unicast is public, less its special parts. Addresses that carry
/// one of IPv4 within them lead where that one leads.
fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    const GLOBAL: Ipv6Net = v6([0x2000, 0], 3);
    const SPECIAL: [Ipv6Net; 3] =
        [v6([0x2001, 0], 23), v6([0x2001, 0xdb8], 32), v6([0x3fff, 0], 20)];
    let [first, second, third, .., seventh, eighth] = address.segments();
    let embedded =
        |high: u16, low: u16| refusal_v4((u32::from(high) << 16 | u32::from(low)).into());
    match (first, second) {
        // 6to4, and the translation of a network with IPv6 only.
        (0x2002, _) => embedded(second, third),
        (0x64, 0xff9b) if v6([0x64, 0xff9b], 96).contains(&address) => embedded(seventh, eighth),
        (0, 0) if address.is_loopback() => Some("a loopback address"),
        (0, 0) => Some("an unspecified or reserved address"),
        (0xfc00..=0xfdff, _) => Some("a private address"),
        (0xfe80..=0xfebf, _) => Some("a link-local address"),
        _ if !GLOBAL.contains(&address) || SPECIAL.iter().any(|net| net.contains(&address)) => {
            Some("a reserved address")
        }
        _ => None,
    }
}

const fn v6([a, b]: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// Why a request was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Finds the addresses of a host.
pub(super) type Lookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Looks hosts up and lets only addresses pass that may be connected to.
#[derive(Clone)]
pub(super) struct Guard {
    allowed: AllowedNetworks,
    lookup: Lookup,
}

impl Guard {
    /// Asks the system for addresses.
    pub(super) fn new(allowed: AllowedNetworks) -> Self {
        Self::with(allowed, Arc::new(|host| Box::pin(system_lookup(host))))
    }

    pub(super) fn with(allowed: AllowedNetworks, lookup: Lookup) -> Self {
        Self { allowed, lookup }
    }

    /// Refuses a URL whose host is an address that must not be connected to. Names are looked at
    /// when they are looked up.
    pub(super) fn check(&self, url: &Url) -> Result<(), Refused> {
        let address: IpAddr = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(Refused("the URL names no host".into())),
        };
        match self.allowed.refusal(address) {
            Some(reason) => Err(refused(&address.to_string(), address, reason)),
            None => Ok(()),
        }
    }

    async fn addresses(
        self,
        host: String,
    ) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let mut reason = None;
        let mut admitted = Vec::new();
        for address in (self.lookup)(host.clone()).await? {
            match self.allowed.refusal(address) {
                Some(why) => reason = Some(refused(&host, address, why)),
                None => admitted.push(address),
            }
        }
        match reason.filter(|_| admitted.is_empty()) {
            Some(refused) => Err(refused.into()),
            None => Ok(admitted),
        }
    }
}

fn refused(host: &str, address: IpAddr, reason: &str) -> Refused {
    Refused(format!(
        "{host} leads to {address}, {reason}: whoever runs this installation can allow that with \
         --webhook-allow-networks"
    ))
}

async fn system_lookup(host: String) -> std::io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((host, 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = self.clone().addresses(name.as_str().to_owned());
        Box::pin(async move {
            let found = addresses.await?.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(allowed: &str, address: &str) -> Option<&'static str> {
        let allowed: AllowedNetworks = allowed.parse().unwrap();
        allowed.refusal(address.parse().unwrap())
    }

    #[test]
    fn only_public_addresses_pass() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.255.255",
            "172.32.0.1",
            "100.63.255.255",
            "192.0.1.1",
            "168.63.129.17",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2606:4700:4700::1111",
            "2a00:1450::1",
        ] {
            assert_eq!(refusal("", public), None, "{public}");
        }
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "4000::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(refusal("", inside).is_some(), "{inside}");
        }
    }

    #[test]
    fn networks_are_allowed_by_name() {
        for (allowed, address, passes) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            (" 10.0.0.0/8 , fd00::/8 ", "10.1.2.3", true),
            ("10.0.0.0/8,fd00::/8", "fd00::1", true),
            ("10.0.0.0/8,fd00::/8", "::1", false),
            ("0.0.0.0/0", "169.254.169.254", true),
            ("0.0.0.0/0", "::1", false),
        ] {
            assert_eq!(refusal(allowed, address).is_none(), passes, "{allowed} {address}");
        }
        for broken in ["localhost", "10.0.0.0/33", "10.0.0"] {
            assert!(broken.parse::<AllowedNetworks>().is_err(), "{broken}");
        }
    }

    #[test]
    fn hosts_that_are_addresses_are_looked_at_in_every_spelling() {
        let guard = Guard::new(AllowedNetworks::default());
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://0/",
        ] {
            let url = Url::parse(url).unwrap();
            assert!(guard.check(&url).unwrap_err().0.contains("--webhook-allow-networks"), "{url}");
        }
        assert_eq!(guard.check(&Url::parse("https://8.8.8.8/").unwrap()), Ok(()));
    }

    #[tokio::test]
    async fn of_many_addresses_only_the_good_ones_are_left() {
        let lookup = |found: &[&str]| -> Lookup {
            let found: Vec<IpAddr> = found.iter().map(|one| one.parse().unwrap()).collect();
            Arc::new(move |_| {
                let found = found.clone();
                Box::pin(async move { Ok(found) })
            })
        };
        let guard =
            Guard::with(AllowedNetworks::default(), lookup(&["10.0.0.1", "8.8.8.8", "::1"]));
        let found = guard.addresses("mixed.example.com".into()).await.unwrap();
        assert_eq!(found, ["8.8.8.8".parse::<IpAddr>().unwrap()]);
        let guard = Guard::with(AllowedNetworks::default(), lookup(&["10.0.0.1"]));
        let refused = guard.addresses("inside.example.com".into()).await.unwrap_err().to_string();
        assert!(
            refused.starts_with("inside.example.com leads to 10.0.0.1, a private"),
            "{refused}"
        );
    }
}
