//! A new master key: everything that is sealed is opened with the old one and sealed with the new,
//! in one transaction.

use std::path::{Path, PathBuf};

use gantry_model::{Error, Result, Secret};
use gantry_store::sealed::{self, Column, Key};
use gantry_store::{Db, Tx};

use crate::App;
use crate::seal::{self, Sealer};

/// Values sealed anew at a time.
const PAGE: i64 = 1000;

/// A sealed column and the place its values are bound to, made of the row's key columns.
struct Place {
    column: Column,
    place: fn(&[String]) -> String,
}

const fn place(
    table: &'static str,
    name: &'static str,
    keys: &'static [Key],
    place: fn(&[String]) -> String,
) -> Place {
    Place { column: Column { table, name, keys, join: "" }, place }
}

/// Every sealed column there is; a test compares it with the schema.
const PLACES: &[Place] = &[
    place("secrets", "sealed", &[Key::Text("name")], |key| format!("secret/{}", key[0])),
    place("clusters", "settings_sealed", &[Key::Number("id")], |key| {
        format!("cluster/{}/settings", key[0])
    }),
    place("clusters", "plugins_sealed", &[Key::Number("id")], |key| {
        format!("cluster/{}/plugins", key[0])
    }),
    Place {
        column: Column {
            table: "resource_specs",
            name: "spec_sealed",
            keys: &[Key::Number("resource_id"), Key::Joined("kind")],
            join: "JOIN resources ON resources.id = resource_specs.resource_id",
        },
        place: |key| format!("{}/{}", key[1], key[0]),
    },
    place(
        "revision_changes",
        "value_sealed",
        &[Key::Number("cluster_id"), Key::Number("revision"), Key::Number("seq"), Key::Text("key")],
        |key| format!("key/{}{}", key[0], key[3]),
    ),
    place("config_keys", "value_sealed", &[Key::Number("cluster_id"), Key::Text("key")], |key| {
        format!("key/{}{}", key[0], key[1])
    }),
    place(
        "loaded_plugins",
        "metadata_sealed",
        &[Key::Number("cluster_id"), Key::Text("name")],
        |key| format!("cluster/{}/plugin_metadata/{}", key[0], key[1]),
    ),
    place("alert_policies", "spec_sealed", &[Key::Number("id")], |key| {
        format!("alert_policy/{}", key[0])
    }),
    place("alert_webhooks", "spec_sealed", &[Key::Number("id")], |key| {
        format!("alert_webhook/{}", key[0])
    }),
    place("alert_histories", "delivery_sealed", &[Key::Number("id")], |key| {
        format!("alert_history/{}", key[0])
    }),
    place("openapi_imports", "document_sealed", &[Key::Number("app_id")], |key| {
        format!("openapi/application/{}", key[0])
    }),
    place("openapi_operations", "document_sealed", &[Key::Number("api_id")], |key| {
        format!("openapi/api/{}", key[0])
    }),
    place("audit", "before_sealed", &[Key::Number("id")], |key| format!("audit/{}", key[0])),
    place("audit", "after_sealed", &[Key::Number("id")], |key| format!("audit/{}", key[0])),
];

/// Tables and columns that hold sealed values.
pub fn sealed_columns() -> impl Iterator<Item = (&'static str, &'static str)> {
    PLACES.iter().map(|place| (place.column.table, place.column.name))
}

/// What a rotation did.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// Values that were sealed anew.
    pub values: u64,
    /// The new key, 32 bytes in base64, if it has to be put into `GANTRY_MASTER_KEY`; otherwise the
    /// key file holds it.
    pub key: Option<Secret>,
}

/// Seals everything under `new`, or under a key made here. No server may run meanwhile: it would go
/// on with the old key.
pub async fn rotate(app: &App, new: Option<Secret>) -> Result<Rotated> {
    let new = new.unwrap_or_else(seal::new_key);
    let sealer = Sealer::with_key(new.expose())?;
    let next = app.key_file.as_deref().map(next_to);
    if let Some(next) = &next {
        seal::write_key(next, new.expose())?;
    }
    let (old, sealer) = (app.clone(), sealer);
    let values = app
        .db
        .write(move |tx| {
            Box::pin(async move {
                let mut values = 0;
                for place in PLACES {
                    values += reseal(tx, place, &old.sealer, &sealer).await?;
                }
                Ok(values)
            })
        })
        .await?;
    let Some(file) = &app.key_file else { return Ok(Rotated { values, key: Some(new) }) };
    adopt(file)?;
    Ok(Rotated { values, key: None })
}

async fn reseal(tx: &mut Tx, place: &Place, old: &Sealer, new: &Sealer) -> Result<u64> {
    let (mut offset, mut count) = (0, 0);
    loop {
        let values = sealed::page(tx, &place.column, offset, PAGE).await?;
        if values.is_empty() {
            let (table, column) = (place.column.table, place.column.name);
            tracing::info!(table, column, count, "sealed anew");
            return Ok(count);
        }
        for value in values {
            let bound = (place.place)(&value.keys);
            let plain = old.open_text(&bound, &value.sealed)?;
            let again = new.seal(&bound, plain.as_bytes())?;
            sealed::replace(tx, &place.column, &value.keys, &again).await?;
            count += 1;
        }
        offset += PAGE;
    }
}

/// The sealer that fits the database: that of `file`, or that of the key beside it if a rotation
/// ended between its commit and the change of the file.
pub(crate) async fn settle(db: &Db, file: Option<&Path>, sealer: Sealer) -> Result<Sealer> {
    let Some(file) = file.filter(|file| next_to(file).is_file()) else { return Ok(sealer) };
    let probe = sealed::page(&mut db.read().await?, &PLACES[0].column, 0, 1).await?;
    let fits = |sealer: &Sealer| {
        probe
            .iter()
            .all(|value| sealer.open_text(&(PLACES[0].place)(&value.keys), &value.sealed).is_ok())
    };
    if fits(&sealer) {
        // The rotation never committed.
        std::fs::remove_file(next_to(file)).map_err(Error::internal)?;
        return Ok(sealer);
    }
    let text = std::fs::read_to_string(next_to(file)).map_err(Error::internal)?;
    let next = Sealer::with_key(&text)?;
    if fits(&next) {
        adopt(file)?;
        return Ok(next);
    }
    Ok(sealer)
}

fn next_to(file: &Path) -> PathBuf {
    file.with_extension("key.next")
}

fn adopt(file: &Path) -> Result<()> {
    std::fs::rename(next_to(file), file).map_err(Error::internal)
}
