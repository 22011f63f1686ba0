//! What `implementation` names: a built-in connector, a component in the plugins directory, or a file.
//!
//! Pure: whether the component exists is for the plugins directory to say.

use std::fmt;
use std::path::PathBuf;

/// Which side of a job a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Reader,
    Writer,
}

/// A component as a job names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Implementation {
    /// Carried inside the binary.
    BuiltIn(&'static str),
    /// `NAME.wasm` in the plugins directory.
    Named(String),
    /// A `.wasm` file.
    Path(PathBuf),
}

/// Why a name cannot be a component, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub message: String,
    pub hint: String,
}

const BUILT_IN: [(&str, Role); 7] = [
    ("csv", Role::Reader),
    ("postgres", Role::Reader),
    ("rest", Role::Reader),
    ("parquet", Role::Writer),
    ("encrypted-s3", Role::Writer),
    ("iceberg", Role::Writer),
    ("discard", Role::Writer),
];

/// The class paths that Dativo's own examples use, so that those jobs run unchanged.
const CLASS_PATHS: [(&str, &str); 4] = [
    ("readers.rest_api_reader.RestAPIReader", "rest"),
    ("postgres_reader_rust.RustPostgresReader", "postgres"),
    ("readers.csv_file_reader.CSVFileReader", "csv"),
    (
        "writers.encrypted_s3_writer.EncryptedS3Writer",
        "encrypted-s3",
    ),
];

/// Longest name of a component; it becomes a file name.
const MAX_NAME: usize = 64;

impl Implementation {
    pub fn resolve(text: &str, role: Role) -> Result<Self, Refusal> {
        let known = CLASS_PATHS.iter().find(|(path, _)| *path == text);
        let name = known.map_or(text, |(_, name)| *name);
        if let Some((name, actual)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return if *actual == role {
                Ok(Self::BuiltIn(name))
            } else {
                Err(Refusal {
                    message: format!("`{text}` is a {actual}, and this place needs a {role}"),
                    hint: format!("the built-in {role}s are {}", built_in(role)),
                })
            };
        }
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        match extension {
            Some("wasm") => Ok(Self::Path(PathBuf::from(name))),
            Some("so" | "dll" | "dylib" | "jar" | "py") => {
                Err(replaced(name, "native or Python code"))
            }
            Some(_) if !name.contains(['/', '\\']) => Err(replaced(name, "a class path")),
            None if is_name(name) => Ok(Self::Named(name.to_owned())),
            _ => Err(Refusal {
                message: format!("`{text}` names no component"),
                hint: format!(
                    "write a built-in {role} ({}), the name of a component in the plugins directory \
                     (a-z, 0-9, `_`, `-`), or a path that ends in `.wasm`",
                    built_in(role)
                ),
            }),
        }
    }
}

/// `csv`, `postgres`, `rest`
pub fn built_in(role: Role) -> String {
    let names = BUILT_IN
        .iter()
        .filter(|(_, r)| *r == role)
        .map(|(name, _)| format!("`{name}`"));
    names.collect::<Vec<_>>().join(", ")
}

impl Role {
    /// As the contract and messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Writer => "writer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

fn replaced(text: &str, what: &str) -> Refusal {
    let name = component_name(text);
    Refusal {
        message: format!("`{text}` is {what}; connectors are WebAssembly components"),
        hint: format!(
            "compile the connector to a component, put it into the plugins directory as `{name}.wasm` \
             and write `implementation: {name}`"
        ),
    }
}

/// `readers.orders_api.OrdersReader` → `orders_api`; `./build/liborders.so` → `orders`.
fn component_name(text: &str) -> String {
    let file = text.rsplit(['/', '\\']).next().unwrap_or(text);
    let mut parts = file.rsplit('.');
    let last = parts.next().unwrap_or(file);
    let stem = parts.next().unwrap_or(last);
    let stem = if file == text {
        stem
    } else {
        stem.strip_prefix("lib").unwrap_or(stem)
    };
    let name: String = stem
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(*c))
        .take(MAX_NAME)
        .collect();
    if name.is_empty() {
        "connector".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, role: Role, expected: Result<Implementation, &str>) {
        match (Implementation::resolve(text, role), expected) {
            (Err(refusal), Err(part)) => {
                let all = format!("{}; {}", refusal.message, refusal.hint);
                assert!(all.contains(part), "{text}: {all}");
            }
            (result, Err(part)) => panic!("{text}: expected `{part}`, got {result:?}"),
            (result, Ok(expected)) => assert_eq!(result, Ok(expected), "{text}"),
        }
    }

    #[test]
    fn refuses_what_is_no_component_and_names_the_replacement() {
        check(
            "readers.orders_api.OrdersReader",
            Role::Reader,
            Err("`implementation: orders_api`"),
        );
        check(
            "target/release/libmy_Reader.so",
            Role::Reader,
            Err("`implementation: my_reader`"),
        );
        check("./orders.py", Role::Reader, Err("`implementation: orders`"));
        check("...", Role::Reader, Err("`implementation: connector`"));
        check("", Role::Reader, Err("names no component"));
        check("Orders", Role::Reader, Err("names no component"));
        check("../orders", Role::Reader, Err("names no component"));
        check(&"a".repeat(65), Role::Reader, Err("names no component"));
    }

    #[test]
    fn refuses_a_built_in_of_the_other_role() {
        check("parquet", Role::Reader, Err("`parquet` is a writer"));
        check(
            "csv",
            Role::Writer,
            Err("`parquet`, `encrypted-s3`, `iceberg`, `discard`"),
        );
        check(
            "readers.csv_file_reader.CSVFileReader",
            Role::Writer,
            Err("is a reader"),
        );
    }

    #[test]
    fn knows_the_built_in_names_and_the_class_paths_of_the_examples() {
        for (name, role) in BUILT_IN {
            check(name, role, Ok(Implementation::BuiltIn(name)));
        }
        for (path, name) in CLASS_PATHS {
            let role = if path.starts_with("writers") {
                Role::Writer
            } else {
                Role::Reader
            };
            check(path, role, Ok(Implementation::BuiltIn(name)));
        }
    }

    #[test]
    fn takes_names_and_files() {
        check(
            "orders-2",
            Role::Reader,
            Ok(Implementation::Named("orders-2".into())),
        );
        check(
            "./x/Orders.wasm",
            Role::Writer,
            Ok(Implementation::Path("./x/Orders.wasm".into())),
        );
    }
}
