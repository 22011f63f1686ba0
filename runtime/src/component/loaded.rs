//! A component that passed inspection: what it is, what it imports, what it says of itself.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use super::bindings::{reader, writer};
use super::cache::Where;
use super::call::{Stop, outcome, within};
use super::state::State;
use super::{ComponentRef, Components, Sandbox, Scope, hex};
use crate::blocking::blocking;
use crate::capabilities::{self, Granted};
use crate::error::{Error, Kind, Result};
use crate::job::{Limits, Role};

/// The version of the contract in `wit/`. A component of another one is refused.
pub const CONTRACT: &str = "0.1.0";

const PACKAGE: &str = "dativo:connector/";

/// The largest component that is read, in bytes. CPython with its libraries is 29 MB.
const MAX_COMPONENT_BYTES: u64 = 256 << 20;

/// The WASI 0.2 packages that are linked, with nothing behind them.
const WASI: [&str; 6] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Components that are kept loaded; their machine code is some megabytes each.
const MAX_REMEMBERED: usize = 128;

/// A component, compiled and checked.
#[derive(Clone)]
pub struct Loaded {
    /// As the job names it.
    pub name: String,
    pub role: Role,
    /// SHA-256 of the file, in lowercase hexadecimal.
    pub digest: String,
    /// Where it came from: `built in`, or a path.
    pub origin: String,
    /// Capabilities of the contract that it imports: `object-store`.
    pub capabilities: Vec<String>,
    /// Everything that it imports.
    pub imports: Vec<String>,
    pub description: Description,
    pub(super) component: Component,
    /// Linked to each set of capabilities that a job granted: thousands of runs of one component link it once.
    linked: Arc<Mutex<HashMap<[bool; 5], Exports>>>,
}

/// What a component says of itself.
#[derive(Clone, Debug)]
pub struct Description {
    pub name: String,
    pub version: String,
    /// JSON Schema of the `config` block.
    pub config_schema: String,
}

impl Components {
    /// Reads and loads a `.wasm` file, which a tenant brought or the operator installed.
    pub async fn load_file(
        &self,
        name: &str,
        path: &std::path::Path,
        tenant: Option<&str>,
    ) -> Result<Loaded> {
        let unreadable = |error: std::io::Error| {
            Error::new(
                Kind::ComponentInvalid,
                format!("cannot read `{}`", path.display()),
            )
            .caused_by(error)
        };
        let size = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
        if size > MAX_COMPONENT_BYTES {
            return Err(Error::new(
                Kind::ComponentInvalid,
                format!("`{}` is larger than 256 MiB", path.display()),
            ));
        }
        let bytes = tokio::fs::read(path).await.map_err(unreadable)?;
        let digest = hex(&Sha256::digest(&bytes));
        let origin = path.display().to_string();
        let _turn = match self.place_of_others {
            Where::Apart if self.is_new(&digest) => Some(self.turns.take(tenant).await),
            _ => None,
        };
        self.load(name, origin, &bytes, digest, self.place_of_others)
            .await
    }

    /// Loads a component that the program carries. `digest` is the SHA-256 of its bytes.
    pub async fn load_built_in(
        &self,
        name: &str,
        origin: &str,
        bytes: &[u8],
        digest: &str,
    ) -> Result<Loaded> {
        self.load(
            name,
            origin.to_owned(),
            bytes,
            digest.to_owned(),
            Where::Here,
        )
        .await
    }

    async fn load(
        &self,
        name: &str,
        origin: String,
        bytes: &[u8],
        digest: String,
        place: Where,
    ) -> Result<Loaded> {
        if let Some(known) = self.known(&digest) {
            return Ok(Loaded {
                name: name.to_owned(),
                origin,
                ..known
            });
        }
        let invalid = |error: Error| error.with("component", &origin);
        let component =
            blocking(|| self.cache.load(&self.engine, bytes, &digest, place)).map_err(invalid)?;
        let imports = names(
            component
                .component_type()
                .imports(&self.engine)
                .map(|(name, _)| name),
        );
        let exports = names(
            component
                .component_type()
                .exports(&self.engine)
                .map(|(name, _)| name),
        );
        let role = role(&exports).map_err(invalid)?;
        let capabilities = required(&imports).map_err(invalid)?;
        let mut loaded = Loaded {
            name: name.to_owned(),
            role,
            digest,
            origin: origin.clone(),
            capabilities,
            imports,
            description: Description {
                name: String::new(),
                version: String::new(),
                config_schema: String::new(),
            },
            component,
            linked: Arc::default(),
        };
        loaded.description = loaded.describe().await.map_err(invalid)?;
        self.remember(&loaded);
        Ok(loaded)
    }

    /// Whether it is to be compiled.
    fn is_new(&self, digest: &str) -> bool {
        self.known(digest).is_none() && !self.cache.has(&self.engine, digest)
    }

    fn known(&self, digest: &str) -> Option<Loaded> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.get(digest).cloned()
    }

    fn remember(&self, new: &Loaded) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.len() >= MAX_REMEMBERED {
            loaded.clear();
        }
        loaded.insert(new.digest.clone(), new.clone());
    }
}

impl Loaded {
    /// ``reader `csv` ``, as messages name it.
    pub fn who(&self) -> String {
        format!("{} `{}`", self.role.name(), self.name)
    }

    /// For records of who took part in a run.
    pub fn reference(&self) -> ComponentRef {
        ComponentRef {
            name: self.name.clone(),
            version: self.description.version.clone(),
            digest: format!("sha256:{}", self.digest),
        }
    }

    /// Links the component to what `granted` holds: once, for any number of instances.
    pub fn link(&self, granted: Granted) -> Result<Linked> {
        let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        let exports = match linked.entry(granted.kinds()) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => place.insert(self.exports(&granted)?).clone(),
        };
        Ok(Linked {
            who: self.who(),
            exports,
            granted,
        })
    }

    fn exports(&self, granted: &Granted) -> Result<Exports> {
        let mut linker = Linker::new(self.component.engine());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)
            .and_then(|()| capabilities::link(&mut linker, granted))
            .map_err(|error| Error::internal("linking failed").caused_by(format!("{error:#}")))?;
        let linked = linker.instantiate_pre(&self.component).and_then(|linked| {
            Ok(match self.role {
                Role::Reader => Exports::Reader(reader::ReaderComponentPre::new(linked)?),
                Role::Writer => Exports::Writer(writer::WriterComponentPre::new(linked)?),
            })
        });
        linked.map_err(|error| {
            Error::new(
                Kind::ComponentInvalid,
                format!("{} cannot be linked", self.who()),
            )
            .with("component", &self.origin)
            .caused_by(format!("{error:#}"))
            .hint(format!(
                "build it against `dativo:connector@{CONTRACT}` (folder `wit/`)"
            ))
        })
    }

    /// Asks the component what it is, in an instance without grants.
    async fn describe(&self) -> Result<Description> {
        let limits = Limits::default();
        let scope = Scope {
            run_id: String::new(),
            job: String::new(),
            tenant: String::new(),
            reader: ComponentRef::default(),
            writer: ComponentRef::default(),
            instance: self.who(),
            trace: None,
            secrets: Arc::default(),
        };
        let stop = Stop::never();
        let linked = self.link(Granted::for_inspection())?;
        let mut store = linked.store(Sandbox {
            scope,
            limits: limits.clone(),
            stop: stop.clone(),
        })?;
        let call = async {
            let said = match &linked.exports {
                Exports::Reader(exports) => {
                    let instance = exports.instantiate_async(&mut store).await?;
                    let guest = instance.dativo_connector_reader();
                    guest.call_describe(&mut store).await?
                }
                Exports::Writer(exports) => {
                    let instance = exports.instantiate_async(&mut store).await?;
                    let guest = instance.dativo_connector_writer();
                    guest.call_describe(&mut store).await?
                }
            };
            Ok(Ok(Description {
                name: said.name,
                version: said.version,
                config_schema: said.config_schema,
            }))
        };
        let answer = within(limits.call_timeout, stop, call).await;
        outcome(&mut store, &linked.who, "describe", answer)
    }
}

/// A component linked to its grants: what instances are made of.
pub struct Linked {
    /// ``reader `csv` ``.
    pub(super) who: String,
    pub(super) exports: Exports,
    granted: Granted,
}

/// The typed exports of a component, looked up once.
#[derive(Clone)]
pub(super) enum Exports {
    Reader(reader::ReaderComponentPre<State>),
    Writer(writer::WriterComponentPre<State>),
}

impl Linked {
    /// A Store for one instance, with the limits of `sandbox`.
    pub(super) fn store(&self, sandbox: Sandbox) -> Result<Store<State>> {
        let engine = match &self.exports {
            Exports::Reader(exports) => exports.engine(),
            Exports::Writer(exports) => exports.engine(),
        };
        let scope = Arc::new(sandbox.scope);
        let state = State::new(scope, self.granted.clone(), &sandbox.limits)?;
        let mut store = Store::new(engine, state);
        store.limiter(|state| state);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| Ok(context.data_mut().tick()));
        store.data_mut().start_call();
        Ok(store)
    }
}

fn names<'a>(items: impl Iterator<Item = &'a str>) -> Vec<String> {
    items.map(str::to_owned).collect()
}

/// Reader or writer, of this contract.
fn role(exports: &[String]) -> Result<Role> {
    let exported = |role: Role| {
        let prefix = format!("{PACKAGE}{}@", role.name());
        exports
            .iter()
            .find_map(move |name| name.strip_prefix(&prefix).map(str::to_owned))
    };
    let (role, version) = match (exported(Role::Reader), exported(Role::Writer)) {
        (Some(version), None) => (Role::Reader, version),
        (None, Some(version)) => (Role::Writer, version),
        (Some(_), Some(_)) => {
            return Err(Error::new(
                Kind::ComponentInvalid,
                "the component exports both `reader` and `writer`",
            )
            .hint("export one of the worlds `reader-component` and `writer-component`"));
        }
        (None, None) => {
            return Err(Error::new(
                Kind::ComponentInvalid,
                "the component exports neither `reader` nor `writer`",
            )
            .hint(format!(
                "export `{PACKAGE}reader@{CONTRACT}` or `{PACKAGE}writer@{CONTRACT}`"
            )));
        }
    };
    if version != CONTRACT {
        return Err(Error::new(
            Kind::ComponentInvalid,
            format!("the component is made for contract {version}; this runtime has {CONTRACT}"),
        )
        .hint(format!(
            "rebuild it with the `wit/` folder of contract {CONTRACT}"
        )));
    }
    Ok(role)
}

/// The capabilities among `imports`; anything that this runtime does not have is refused.
fn required(imports: &[String]) -> Result<Vec<String>> {
    let mut capabilities = Vec::new();
    let mut unknown = Vec::new();
    for import in imports {
        let name = import
            .strip_prefix(PACKAGE)
            .and_then(|name| name.split_once('@'));
        match name {
            Some((name, CONTRACT)) if capabilities::exists(name) => {
                if capabilities::is_listed(name) {
                    capabilities.push(name.to_owned());
                }
            }
            None if WASI.iter().any(|package| import.starts_with(package)) => {}
            _ => unknown.push(format!("`{import}`")),
        }
    }
    if unknown.is_empty() {
        return Ok(capabilities);
    }
    Err(Error::new(
        Kind::ComponentInvalid,
        format!(
            "the component imports {}, which this runtime does not have",
            unknown.join(", ")
        ),
    )
    .hint(format!(
        "a component may import `dativo:connector@{CONTRACT}` and WASI 0.2 without HTTP; \
         network and storage are capabilities of the contract"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn refuses_what_is_no_connector_of_this_contract() {
        let refused = |exports: &[&str]| role(&list(exports)).err().map(|e| e.message().to_owned());
        assert!(refused(&[]).unwrap().contains("neither"));
        assert!(
            refused(&["wasi:cli/run@0.2.0"])
                .unwrap()
                .contains("neither")
        );
        assert!(
            refused(&["dativo:connector/reader@9.0.0"])
                .unwrap()
                .contains("made for contract 9.0.0")
        );
        assert!(
            refused(&[
                "dativo:connector/reader@0.1.0",
                "dativo:connector/writer@0.1.0"
            ])
            .unwrap()
            .contains("both")
        );
        assert_eq!(refused(&["dativo:connector/reader@0.1.0", "init"]), None);
    }

    #[test]
    fn refuses_imports_that_the_runtime_does_not_have() {
        let refused = |imports: &[&str]| required(&list(imports)).err().is_some();
        assert!(refused(&["wasi:http/types@0.2.0"]));
        assert!(refused(&["dativo:connector/kafka@0.1.0"]));
        assert!(refused(&["dativo:connector/data@0.2.0"]));
        assert!(refused(&["env"]));
        assert_eq!(
            required(&list(&[
                "dativo:connector/data@0.1.0",
                "dativo:connector/object-store@0.1.0",
                "wasi:io/streams@0.2.6"
            ]))
            .unwrap(),
            ["object-store"]
        );
    }
}
