//! Consumers and their credentials, which are separate keys that only mean something together.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gantry_routing::resource;

use crate::{
    compile::{Bench, Identified},
    consumer::{Consumer, Consumers, Credential},
};

/// All consumers as configured.
#[derive(Default)]
pub struct People {
    by_name: BTreeMap<String, Person>,
    dirty: BTreeSet<String>,
    /// Keys that several resources claim, by plugin, and these resources.
    contested: BTreeMap<(&'static str, String), Vec<Arc<str>>>,
}

#[derive(Default)]
struct Person {
    consumer: Option<resource::Consumer>,
    credentials: BTreeMap<String, resource::Credential>,
    /// What the person is found by at present: plugin, key, owner.
    presented: Vec<(&'static str, String, Arc<str>)>,
}

/// Keys with what is wrong with them; nothing means fine.
type Reports = Vec<(String, Vec<String>)>;

impl People {
    /// Adds or replaces a consumer.
    pub fn put_consumer(&mut self, source: resource::Consumer) {
        let name = source.id.clone();
        self.person(&name).consumer = Some(source);
    }

    /// Adds or replaces a credential.
    pub fn put_credential(&mut self, source: resource::Credential) {
        let name = source.consumer.clone();
        self.person(&name).credentials.insert(source.id.clone(), source);
    }

    /// Removes a consumer, or the credential `{consumer}/credentials/{id}`.
    pub fn remove(&mut self, id: &str) {
        match id.split_once("/credentials/") {
            Some((name, id)) => {
                self.person(name).credentials.remove(id);
            }
            None => self.person(id).consumer = None,
        }
    }

    fn person(&mut self, name: &str) -> &mut Person {
        self.dirty.insert(name.to_owned());
        self.by_name.entry(name.to_owned()).or_default()
    }

    /// Compiles those that have changed.
    pub fn settle(&mut self, bench: &Bench, consumers: &mut Consumers) -> Reports {
        let mut reports = Reports::new();
        let mut touched = BTreeSet::new();
        for name in std::mem::take(&mut self.dirty) {
            let Some(person) = self.by_name.get_mut(&name) else { continue };
            touched.extend(person.keys());
            person.withdraw(&name, consumers);
            person.present(bench, consumers, &mut reports);
            touched.extend(person.keys());
            if person.consumer.is_none() && person.credentials.is_empty() {
                self.by_name.remove(&name);
            }
        }
        if !touched.is_empty() {
            self.settle_claims(touched, consumers);
            reports.push(("consumers".to_owned(), self.contests()));
        }
        reports
    }

    /// Finds out who claims these keys now.
    fn settle_claims(&mut self, keys: BTreeSet<(&'static str, String)>, consumers: &Consumers) {
        for (plugin, key) in keys {
            let owners = consumers.owners(plugin, &key);
            if owners.len() > 1 {
                self.contested.insert((plugin, key), owners);
            } else {
                self.contested.remove(&(plugin, key));
            }
        }
    }

    /// A sentence for each key that several claim; the key itself is a secret.
    fn contests(&self) -> Vec<String> {
        let sentence = |((plugin, _), owners): (&(&'static str, String), &Vec<Arc<str>>)| {
            let all = owners.join(" and ");
            format!("{all} have the same key for `{plugin}`: the last one loaded counts")
        };
        self.contested.iter().map(sentence).collect()
    }
}

impl Person {
    fn keys(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.presented.iter().map(|(plugin, key, _)| (*plugin, key.clone()))
    }

    fn withdraw(&mut self, name: &str, consumers: &mut Consumers) {
        for (plugin, key, owner) in self.presented.drain(..) {
            consumers.withdraw(plugin, &key, &owner);
        }
        consumers.remove(name);
    }

    fn present(&mut self, bench: &Bench, consumers: &mut Consumers, reports: &mut Reports) {
        let Some(source) = &self.consumer else {
            let orphan = |id: &String| format!("credentials/{id}");
            reports.extend(self.credentials.values().map(|credential| {
                let key = format!("consumers/{}/{}", credential.consumer, orphan(&credential.id));
                (key, vec!["its consumer does not exist".to_owned()])
            }));
            return;
        };
        let mut problems = Vec::new();
        let key = format!("consumers/{}", source.id);
        let (identified, links) = bench.consumer_plugins(&key, &source.plugins, &mut problems);
        let consumer = Arc::new(Consumer {
            name: source.id.clone(),
            custom_id: source.labels.get("custom_id").cloned(),
            group_id: source.group_id.clone(),
            labels: source.labels.clone(),
            links,
        });
        consumers.insert(Arc::clone(&consumer));
        file(bench, consumers, &mut self.presented, &consumer, (&key, None, identified));
        reports.push((key, problems));
        for credential in self.credentials.values() {
            let mut problems = Vec::new();
            let key = format!("consumers/{}/credentials/{}", source.id, credential.id);
            let (identified, _) = bench.consumer_plugins(&key, &credential.plugins, &mut problems);
            let holder = (&*key, Some(&*credential.id), identified);
            file(bench, consumers, &mut self.presented, &consumer, holder);
            reports.push((key, problems));
        }
    }
}

/// Makes a consumer known by what a resource says: its key, the credential's id, the identities.
fn file(
    bench: &Bench,
    consumers: &mut Consumers,
    presented: &mut Vec<(&'static str, String, Arc<str>)>,
    consumer: &Arc<Consumer>,
    (key, id, identified): (&str, Option<&str>, Vec<Identified>),
) {
    let owner: Arc<str> = format!("{}{key}", bench.directory).into();
    for Identified { plugin, identity } in identified {
        let credential = Credential {
            consumer: Arc::clone(consumer),
            id: id.map(str::to_owned),
            owner: Arc::clone(&owner),
            secret: identity.secret,
        };
        consumers.present(plugin, &identity.key, Arc::new(credential));
        presented.push((plugin, identity.key, Arc::clone(&owner)));
    }
}
