//! The one list of what the host can give to a component, and what a job gave.
//!
//! Each capability is a folder: `mod.rs` says what it grants and the threat it bounds, `grant.rs` is
//! pure, `host.rs` adapts to the contract, `client.rs` or `backends/` do the work and know no wasm.

pub mod aws;
mod aws_http;
mod blocking;
pub mod connections;
mod egress;
pub mod failure;
pub mod http;
pub mod iceberg;
pub mod json;
pub mod kms;
pub mod object_store;
pub mod parquet;
pub mod postgres;

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use crate::component::State;
use crate::component::bindings::imports;
use failure::{ErrorKind, Failure};

/// A capability of the contract.
struct Capability {
    /// The name of its interface in `wit/`.
    name: &'static str,
    /// Whether it reaches outside the run, so that a job must say what for.
    needs_grant: bool,
}

const CAPABILITIES: [Capability; 7] = [
    Capability {
        name: "http",
        needs_grant: true,
    },
    Capability {
        name: "iceberg",
        needs_grant: true,
    },
    Capability {
        name: "json",
        needs_grant: false,
    },
    Capability {
        name: "kms",
        needs_grant: true,
    },
    Capability {
        name: "object-store",
        needs_grant: true,
    },
    Capability {
        name: "parquet",
        needs_grant: false,
    },
    Capability {
        name: "postgres",
        needs_grant: true,
    },
];

/// Interfaces that every component has and that reach nothing.
const BASE: [&str; 3] = ["types", "data", "log"];

/// Whether the contract of this runtime has an interface `name`.
pub fn exists(name: &str) -> bool {
    BASE.contains(&name) || is_listed(name)
}

/// Whether `name` is a capability, and not one of the interfaces that every component has.
pub fn is_listed(name: &str) -> bool {
    CAPABILITIES
        .iter()
        .any(|capability| capability.name == name)
}

/// Whether a job must grant targets for `name`.
pub fn needs_grant(name: &str) -> bool {
    CAPABILITIES
        .iter()
        .any(|capability| capability.name == name && capability.needs_grant)
}

/// A granted target as it may be printed: what a connection string holds beside an address is left out.
pub fn shown(capability: &str, target: &str) -> String {
    match capability {
        "http" => http::shown(target),
        "iceberg" => iceberg::shown(target),
        "kms" => kms::shown(target),
        "postgres" => postgres::shown(target),
        _ => target.to_owned(),
    }
}

/// What a job gives to one component.
#[derive(Clone, Default)]
pub struct Granted {
    pub http: Option<Arc<http::Access>>,
    pub iceberg: Option<Arc<iceberg::Access>>,
    pub kms: Option<Arc<kms::Access>>,
    pub object_store: Option<Arc<object_store::Access>>,
    pub postgres: Option<Arc<postgres::Access>>,
    /// Folders that WASI shows to the component, read-only.
    pub files: Vec<PathBuf>,
}

impl Granted {
    /// Everything linked and nothing reachable: for asking a component what it is.
    pub fn for_inspection() -> Self {
        Self {
            http: Some(Arc::new(http::Access::none())),
            iceberg: Some(Arc::new(iceberg::Access::none())),
            kms: Some(Arc::new(kms::Access::none())),
            object_store: Some(Arc::new(object_store::Access::none())),
            postgres: Some(Arc::new(postgres::Access::none())),
            files: Vec::new(),
        }
    }
}

impl Granted {
    /// Which capabilities there are, whatever they reach: what decides how a component is linked.
    pub fn kinds(&self) -> [bool; 5] {
        [
            self.http.is_some(),
            self.iceberg.is_some(),
            self.kms.is_some(),
            self.object_store.is_some(),
            self.postgres.is_some(),
        ]
    }
}

/// Links what `granted` holds, and nothing else.
pub fn link(linker: &mut Linker<State>, granted: &Granted) -> wasmtime::Result<()> {
    imports::types::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::data::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::log::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::json::add_to_linker::<_, HasSelf<_>>(linker, |state| state.calling("json"))?;
    imports::parquet::add_to_linker::<_, HasSelf<_>>(linker, |state| state.calling("parquet"))?;
    if granted.http.is_some() {
        imports::http::add_to_linker::<_, HasSelf<_>>(linker, |state| state.calling("http"))?;
    }
    if granted.iceberg.is_some() {
        imports::iceberg::add_to_linker::<_, HasSelf<_>>(linker, |state| state.calling("iceberg"))?;
    }
    if granted.kms.is_some() {
        imports::kms::add_to_linker::<_, HasSelf<_>>(linker, |state| state.calling("kms"))?;
    }
    if granted.object_store.is_some() {
        imports::object_store::add_to_linker::<_, HasSelf<_>>(linker, |state| {
            state.calling("object-store")
        })?;
    }
    if granted.postgres.is_some() {
        imports::postgres::add_to_linker::<_, HasSelf<_>>(linker, |state| {
            state.calling("postgres")
        })?;
    }
    Ok(())
}

impl imports::types::Host for State {}

impl From<Failure> for imports::types::Error {
    fn from(failure: Failure) -> Self {
        use imports::types::ErrorKind as Wit;
        let kind = match failure.kind {
            ErrorKind::InvalidConfig => Wit::InvalidConfig,
            ErrorKind::Denied => Wit::Denied,
            ErrorKind::NotFound => Wit::NotFound,
            ErrorKind::Unavailable => Wit::Unavailable,
            ErrorKind::Rejected => Wit::Rejected,
            ErrorKind::InvalidData => Wit::InvalidData,
            ErrorKind::LimitExceeded => Wit::LimitExceeded,
            ErrorKind::Internal => Wit::Internal,
        };
        Self {
            kind,
            message: failure.message,
            hint: failure.hint,
            retry_after_ms: failure
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_is_an_interface_of_the_contract() {
        let contract = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        for capability in &CAPABILITIES {
            assert!(contract.join(format!("{}.wit", capability.name)).exists());
        }
    }
}
