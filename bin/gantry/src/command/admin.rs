//! `gantry admin`: recovery, directly on the data directory or database.

use std::path::Path;

use gantry_app::{App, Cx, access_token, audit, gateway, rotation, user};
use gantry_model::access_token::AccessTokenCreate;
use gantry_model::{Id, Secret};

use super::server::config;
use super::{Outcome, runtime};
use crate::options::{AdminAction, AdminOptions};

/// Does one thing and closes the store.
pub fn run(options: AdminOptions) -> Outcome {
    let AdminOptions { store, action } = options;
    if store.database.is_none() && !store.data.join("gantry.db").is_file() {
        return Err(format!(
            "there is no Gantry in `{}`: give --data or --database",
            store.data.display()
        )
        .into());
    }
    runtime()?.block_on(async {
        let app = App::open(config(&store)).await?;
        let done = act(&app, action).await;
        app.close().await;
        done
    })
}

async fn act(app: &App, action: AdminAction) -> Outcome {
    match action {
        AdminAction::CreateToken { email, expire, notes } => {
            let expire = end_of_validity(&expire, app.now().seconds())?;
            let user = user::id_of(app, &email).await?;
            let cx = Cx::system(app, "adminCreateToken");
            let token =
                access_token::create_for(&cx, &user, AccessTokenCreate { expire, notes }).await?;
            println!("{}", token.token.unwrap_or_default());
        }
        AdminAction::ResetPassword { email, password } => {
            let cx = Cx::system(app, "adminResetPassword");
            let password = user::reset_password(&cx, &email, password.map(Secret::new)).await?;
            println!("{}", password.expose());
        }
        AdminAction::IssueCertificate { cluster, out } => {
            let cx = Cx::system(app, "adminIssueCertificate");
            let bundle = gateway::issue_certificate(&cx, cluster.parse::<Id>()?).await?;
            write_bundle(&out, &bundle)?;
            println!("{}", out.display());
        }
        AdminAction::IssueGatewayUser { cluster } => {
            let cx = Cx::system(app, "adminIssueGatewayUser");
            let user = gateway::issue_user(&cx, cluster.parse::<Id>()?).await?;
            println!("{} {}", user.name, user.password.expose());
        }
        AdminAction::RevokeCertificate { cluster, serial } => {
            let cx = Cx::system(app, "adminRevokeCertificate");
            gateway::revoke_certificate(&cx, cluster.parse::<Id>()?, &serial).await?;
        }
        AdminAction::VerifyAudit => verify_audit(app).await?,
        AdminAction::RotateMasterKey { new_key } => {
            let rotated = rotation::rotate(app, new_key.map(Secret::new)).await?;
            println!("{} values are sealed under the new key", rotated.values);
            match rotated.key {
                Some(key) => println!("start servers with GANTRY_MASTER_KEY={}", key.expose()),
                None => println!("the new key is in the data folder's master.key"),
            }
        }
    }
    Ok(())
}

async fn verify_audit(app: &App) -> Outcome {
    let report = audit::verify(app).await?;
    for broken in &report.broken {
        eprintln!("{broken}");
    }
    if report.broken.is_empty() {
        println!(
            "{} entries in {} ledgers: nobody has edited them",
            report.entries, report.ledgers
        );
        return Ok(());
    }
    Err(format!("{} of {} ledgers were edited", report.broken.len(), report.ledgers).into())
}

/// Unix seconds at the end of `30d` or `12h` from `now`; 0 for `never`.
fn end_of_validity(text: &str, now: i64) -> Outcome<i64> {
    if text == "never" {
        return Ok(0);
    }
    let seconds = [("d", 86_400), ("h", 3600)]
        .iter()
        .find_map(|(unit, seconds)| {
            text.strip_suffix(unit)?.parse::<i64>().ok()?.checked_mul(*seconds)
        })
        .filter(|seconds| *seconds > 0);
    seconds.and_then(|seconds| now.checked_add(seconds)).ok_or_else(|| {
        format!("`--expire {text}`: give days such as 30d, hours such as 12h, or never").into()
    })
}

/// Writes `tls.crt`, `tls.key` (readable by the owner only) and `ca.crt`.
pub fn write_bundle(folder: &Path, bundle: &gateway::TlsBundle) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("tls.crt"), &bundle.certificate)?;
    std::fs::write(folder.join("ca.crt"), &bundle.ca_certificate)?;
    let mut key = std::fs::OpenOptions::new();
    let mut key =
        key.write(true).create(true).truncate(true).mode(0o600).open(folder.join("tls.key"))?;
    key.write_all(bundle.private_key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_validity_have_units() {
        assert_eq!(end_of_validity("never", 5).ok(), Some(0));
        assert_eq!(end_of_validity("2d", 5).ok(), Some(172_805));
        assert_eq!(end_of_validity("12h", 0).ok(), Some(43_200));
        for bad in ["", "d", "12", "-1d", "0h", "9223372036854775807d"] {
            assert!(end_of_validity(bad, 0).is_err(), "{bad}");
        }
    }
}
