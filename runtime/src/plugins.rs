//! Where connectors are found: inside the binary, in the plugins directory, or at a path.
//!
//! Knows names and files, not what is inside a component.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::component::{Components, Loaded, hex};
use crate::error::{Error, Kind, Result};
use crate::job::{Endpoint, Implementation, Role};

/// Name and bytes of each built-in connector. `make guests` builds them.
static BUILT_IN: [(&str, &[u8]); 7] = [
    ("csv", include_bytes!("../../guests/dist/csv.wasm")),
    (
        "postgres",
        include_bytes!("../../guests/dist/postgres.wasm"),
    ),
    ("rest", include_bytes!("../../guests/dist/rest.wasm")),
    ("parquet", include_bytes!("../../guests/dist/parquet.wasm")),
    (
        "encrypted-s3",
        include_bytes!("../../guests/dist/encrypted-s3.wasm"),
    ),
    ("iceberg", include_bytes!("../../guests/dist/iceberg.wasm")),
    ("discard", include_bytes!("../../guests/dist/discard.wasm")),
];

/// The origin of a built-in connector, as `plugins` and `inspect` show it.
pub const BUILT_IN_ORIGIN: &str = "built in";

/// The plugins directory of a process.
pub struct Plugins {
    folder: PathBuf,
}

/// One connector that a job could name.
pub struct Found {
    pub name: String,
    /// None for a built-in one.
    pub file: Option<PathBuf>,
    /// A file of the plugins directory that has the name of a built-in connector: it is not used.
    pub shadowed: bool,
}

impl Plugins {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// All connectors by name, the built-in ones first.
    pub fn list(&self) -> Result<Vec<Found>> {
        let mut found: Vec<Found> = BUILT_IN
            .iter()
            .map(|(name, _)| Found {
                name: (*name).to_owned(),
                file: None,
                shadowed: false,
            })
            .collect();
        let mut files: Vec<Found> = self
            .files()?
            .into_iter()
            .map(|(name, file)| Found {
                shadowed: built_in(&name).is_some(),
                name,
                file: Some(file),
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        found.append(&mut files);
        Ok(found)
    }

    /// Loads the connector that `endpoint` names, and checks that it has the right role.
    pub async fn resolve(
        &self,
        components: &Components,
        endpoint: &Endpoint,
        tenant: &str,
    ) -> Result<Loaded> {
        let at = || endpoint.implementation_location();
        let loaded = match &endpoint.implementation {
            Implementation::BuiltIn(name) => self.load_built_in(components, name).await,
            Implementation::Named(name) => self.load_named(components, name, endpoint.role).await,
            Implementation::Path(path) => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                components.load_file(&name, path, Some(tenant)).await
            }
        };
        let loaded = loaded.map_err(|error| error.at(at()))?;
        if loaded.role == endpoint.role {
            return Ok(loaded);
        }
        let (is, wanted) = (loaded.role.name(), endpoint.role.name());
        Err(Error::new(
            Kind::ComponentInvalid,
            format!(
                "`{}` is a {is}, and the job uses it as a {wanted}",
                loaded.name
            ),
        )
        .with("component", &loaded.origin)
        .at(at()))
    }

    /// Loads what a user names on the command line: a path to a `.wasm` file, or a name.
    pub async fn find(&self, components: &Components, name: &str) -> Result<Loaded> {
        let path = Path::new(name);
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            return components.load_file(&stem, path, None).await;
        }
        match built_in(name) {
            Some(_) => self.load_built_in(components, name).await,
            None => {
                let file = self.folder.join(format!("{name}.wasm"));
                if !file.exists() {
                    return Err(self.unknown(name));
                }
                components.load_file(name, &file, None).await
            }
        }
    }

    async fn load_built_in(&self, components: &Components, name: &str) -> Result<Loaded> {
        let Some(bytes) = built_in(name) else {
            return Err(Error::new(
                Kind::JobInvalid,
                format!("the connector `{name}` is not in this version of dativo-wasm"),
            )
            .hint(format!(
                "built in are {}",
                names(BUILT_IN.iter().map(|(name, _)| *name))
            )));
        };
        let twin = self.folder.join(format!("{name}.wasm"));
        if twin.exists() {
            tracing::warn!(
                file = %twin.display(),
                "the plugins directory has a component with the name of a built-in connector; the built-in one is used"
            );
        }
        components
            .load_built_in(name, BUILT_IN_ORIGIN, bytes, digest(name))
            .await
    }

    async fn load_named(&self, components: &Components, name: &str, role: Role) -> Result<Loaded> {
        let file = self.folder.join(format!("{name}.wasm"));
        if !file.exists() {
            return Err(self.unknown(name).with("role", role.name()));
        }
        components.load_file(name, &file, None).await
    }

    fn unknown(&self, name: &str) -> Error {
        let folder = self.folder.display();
        let there = self.files().unwrap_or_default();
        let there = match there.len() {
            0 => format!("`{folder}` holds no components"),
            _ => format!(
                "`{folder}` holds {}",
                names(there.iter().map(|(name, _)| name.as_str()))
            ),
        };
        Error::new(Kind::JobInvalid, format!("there is no connector `{name}`")).hint(format!(
            "put `{name}.wasm` into `{folder}`, or name a `.wasm` file; built in are {}; {there}",
            names(BUILT_IN.iter().map(|(name, _)| *name))
        ))
    }

    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let folder = self.folder.display();
                return Err(Error::new(
                    Kind::JobInvalid,
                    format!("cannot read the plugins directory `{folder}`"),
                )
                .caused_by(error));
            }
        };
        let files = entries.flatten().map(|entry| entry.path());
        let components = files.filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "wasm")
        });
        Ok(components
            .filter_map(|file| Some((file.file_stem()?.to_str()?.to_owned(), file)))
            .collect())
    }
}

fn built_in(name: &str) -> Option<&'static [u8]> {
    BUILT_IN
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, bytes)| *bytes)
}

/// The SHA-256 of a built-in connector, taken once.
fn digest(name: &str) -> &'static str {
    static DIGESTS: [OnceLock<String>; BUILT_IN.len()] =
        [const { OnceLock::new() }; BUILT_IN.len()];
    let known = BUILT_IN.iter().zip(&DIGESTS);
    let mut of_name = known.filter(|((known, _), _)| *known == name);
    of_name.next().map_or("", |((_, bytes), digest)| {
        digest.get_or_init(|| hex(&Sha256::digest(bytes)))
    })
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
