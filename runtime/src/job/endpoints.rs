//! The two sides of a job: which component, with what config, from which of the several ways to write it.
//!
//! Pure. Secrets are still references here; `build.rs` hides them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::build::Builder;
use super::implementation::{Implementation, Refusal, Role, built_in};
use super::spec::{EndpointKind, EndpointSpec, TargetSpec};
use crate::error::{Error, Kind};

/// An endpoint whose secrets are still written out as references.
pub struct Draft {
    pub role: Role,
    pub implementation: Implementation,
    pub implementation_pointer: String,
    pub config: Map<String, Value>,
    pub config_pointer: String,
    pub pointer: String,
    pub grants: BTreeMap<String, Vec<String>>,
}

impl Builder<'_> {
    pub fn source(
        &mut self,
        spec: Option<EndpointSpec>,
        connector: Option<String>,
    ) -> Option<Draft> {
        let place = Side {
            role: Role::Reader,
            pointer: "/source/reader",
            parent: "/source",
            connector: "/source_connector",
        };
        self.endpoint(spec, connector, &place)
    }

    /// `defaults` are those of the tenant for a table.
    pub fn target(
        &mut self,
        spec: Option<TargetSpec>,
        connector: Option<String>,
        defaults: Map<String, Value>,
    ) -> Option<Draft> {
        let place = Side {
            role: Role::Writer,
            pointer: "/target/writer",
            parent: "/target",
            connector: "/target_connector",
        };
        let Some(mut spec) = spec else {
            return self.endpoint(None, connector, &place);
        };
        let writer = spec.writer.take();
        let mut table_config = table_config(spec);
        let Some(first) = table_config.keys().next() else {
            return self.endpoint(writer, connector, &place);
        };
        if writer.is_some() {
            let message = format!("`target` has both `writer` and `{first}`");
            let hint = "keep `writer` and move the others into `writer.config`, or remove `writer`";
            self.problem(&format!("/target/{first}"), &message, hint);
            return None;
        }
        if let Some(connector) = connector.filter(|connector| connector != "iceberg") {
            let message = format!(
                "`warehouse`, `namespace` and `table` mean `iceberg`, and `target_connector` is `{connector}`"
            );
            let hint =
                "write `target_connector: iceberg`, or name the writer under `target.writer`";
            self.problem("/target_connector", &message, hint);
            return None;
        }
        for (key, value) in defaults {
            table_config.entry(key).or_insert(value);
        }
        let missing: Vec<_> = ["warehouse", "namespace", "table"]
            .into_iter()
            .filter(|key| {
                !table_config.contains_key(*key) && !self.was_refused(&format!("/target/{key}"))
            })
            .collect();
        for key in missing {
            let message = format!("missing key `{key}` in `target`");
            let error = Error::new(Kind::JobInvalid, message)
                .at(self.document.locate_key("/target"))
                .hint("an Iceberg table needs `warehouse`, `namespace` and `table`");
            self.problems.push(error);
        }
        Some(Draft {
            role: Role::Writer,
            implementation: Implementation::BuiltIn("iceberg"),
            implementation_pointer: "/target".to_owned(),
            config: table_config,
            config_pointer: "/target".to_owned(),
            pointer: "/target".to_owned(),
            grants: BTreeMap::new(),
        })
    }

    fn endpoint(
        &mut self,
        spec: Option<EndpointSpec>,
        connector: Option<String>,
        side: &Side,
    ) -> Option<Draft> {
        let Side { role, pointer, .. } = *side;
        let given = spec.is_some();
        let spec = spec.unwrap_or(EndpointSpec {
            kind: None,
            implementation: None,
            config: None,
            grants: None,
        });
        let own = format!("{pointer}/implementation");
        let (text, at) = match (spec.implementation, connector) {
            (Some(_), _) if spec.kind == Some(EndpointKind::Default) => {
                let message = "`type: default` and `implementation` exclude each other";
                let hint = format!(
                    "write `type: custom`, or remove `implementation` to take the connector's own {role}"
                );
                self.problem(&format!("{pointer}/type"), message, &hint);
                return None;
            }
            (Some(text), _) => (text, own),
            (None, _) if spec.kind == Some(EndpointKind::Custom) => {
                if !self.was_refused(&own) {
                    let message = "`type: custom` needs an `implementation`";
                    let hint = format!(
                        "add `implementation: NAME`: a built-in ({}), a component in the plugins directory, or a `.wasm` file",
                        built_in(role)
                    );
                    self.problem(&format!("{pointer}/type"), message, &hint);
                }
                return None;
            }
            (None, Some(connector)) => (connector, side.connector.to_owned()),
            (None, None) => {
                if ![side.parent, side.connector]
                    .iter()
                    .any(|pointer| self.was_refused(pointer))
                {
                    let message = format!("the job names no {role}");
                    let hint = format!(
                        "add `implementation: NAME` under `{}`; the built-in {role}s are {}",
                        &pointer[1..].replace('/', "."),
                        built_in(role)
                    );
                    let at = if given { pointer } else { side.parent };
                    let error = Error::new(Kind::JobInvalid, message)
                        .at(self.document.locate_key(at))
                        .hint(hint);
                    self.problems.push(error);
                }
                return None;
            }
        };
        let implementation = match Implementation::resolve(&text, role) {
            Ok(implementation) => implementation,
            Err(Refusal { message, hint }) => {
                self.problem(&at, &message, &hint);
                return None;
            }
        };
        Some(Draft {
            role,
            implementation,
            implementation_pointer: at,
            config: spec.config.unwrap_or_default(),
            config_pointer: format!("{pointer}/config"),
            pointer: pointer.to_owned(),
            grants: spec.grants.unwrap_or_default(),
        })
    }
}

/// The config of the writer `iceberg`: what stands under `target` beside `writer`.
fn table_config(spec: TargetSpec) -> Map<String, Value> {
    let TargetSpec {
        writer: _,
        warehouse,
        namespace,
        table,
        catalog,
        partition_by,
        sort_by,
        mode,
        key,
        merge_mode,
        schema_evolution,
        compression,
        target_file_size,
    } = spec;
    let keys = [
        ("warehouse", warehouse.map(Value::from)),
        ("namespace", namespace.map(Value::from)),
        ("table", table.map(Value::from)),
        ("catalog", catalog.map(Value::from)),
        ("partition_by", partition_by.map(Value::from)),
        ("sort_by", sort_by.map(Value::from)),
        ("mode", mode.map(Value::from)),
        ("key", key.map(Value::from)),
        ("merge_mode", merge_mode.map(Value::from)),
        ("schema_evolution", schema_evolution.map(Value::from)),
        ("compression", compression.map(Value::from)),
        ("target_file_size", target_file_size.map(|size| size.0)),
    ];
    let given = keys
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    given.collect()
}

/// One side of a job, and where it stands in the file.
struct Side {
    role: Role,
    pointer: &'static str,
    parent: &'static str,
    connector: &'static str,
}
