//! Sets of addresses and networks, as allow and deny lists use them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses and networks in either family; a lookup is one binary search.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    /// First and last address of each network, sorted and apart from each other.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// Reads a list of addresses (`10.0.0.1`, `::1`) and networks (`10.0.0.0/8`, `fe80::/32`).
    pub fn parse<T: AsRef<str>>(list: &[T]) -> Result<Self, String> {
        let mut nets = Vec::with_capacity(list.len());
        for text in list {
            let text = text.as_ref();
            let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            nets.push(net.map_err(|_| format!("`{text}` is neither an address nor a network"))?);
        }
        let mut set = Self::default();
        for net in IpNet::aggregate(&nets) {
            match net {
                IpNet::V4(net) => set.v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => set.v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        set.v4.sort_unstable();
        set.v6.sort_unstable();
        Ok(set)
    }

    /// Whether the address belongs to the set. An IPv4 address in IPv6 clothes is IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => holds(&self.v4, address.to_bits()),
            IpAddr::V6(address) => holds(&self.v6, address.to_bits()),
        }
    }
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= value);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| value <= *last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(list: &[&str]) -> Networks {
        Networks::parse(list).unwrap()
    }

    fn has(set: &Networks, address: &str) -> bool {
        set.contains(address.parse().unwrap())
    }

    #[test]
    fn addresses_and_networks_of_both_families_are_found() {
        let set = set(&["127.0.0.1", "113.74.26.0/24", "10.0.0.0/8", "::1", "fe80::/32"]);
        for address in ["127.0.0.1", "113.74.26.106", "10.255.255.255", "::1", "fe80::1:1"] {
            assert!(has(&set, address), "{address}");
        }
        for address in ["127.0.0.2", "113.74.27.0", "11.0.0.0", "::2", "fe81::1"] {
            assert!(!has(&set, address), "{address}");
        }
    }

    #[test]
    fn mapped_addresses_count_as_their_v4_self() {
        assert!(has(&set(&["10.0.0.0/8"]), "::ffff:10.1.2.3"));
    }

    #[test]
    fn everything_and_nothing_are_sets_too() {
        assert!(has(&set(&["0.0.0.0/0"]), "255.255.255.255"));
        assert!(!has(&set(&[]), "1.1.1.1"));
    }

    #[test]
    fn a_bad_entry_is_named() {
        let error = Networks::parse(&["10.0.0.0/33"]).unwrap_err();
        assert_eq!(error, "`10.0.0.0/33` is neither an address nor a network");
    }
}
