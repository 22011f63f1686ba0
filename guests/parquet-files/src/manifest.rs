//! The commit: one numbered object for each, `_dativo/<tenant>/<job>/<number>.json`.
//!
//! Creating an object that must not exist is one step at every store, and so is the commit: who
//! creates the next number has committed. The files are published after it, and `<number>.complete` says
//! that they were. Whoever reads the newest manifest and does not find that publishes them again, which
//! does nothing where it was done.

use dativo_connector::object_store as store;
use dativo_connector::{Blob, ComponentRef, Error, ErrorKind, Output, Receipt, Result, Run};
use serde::{Deserialize, Serialize};

use crate::files::StagedFile;

/// The version of the format of a manifest.
const FORMAT: u32 = 1;

/// The longest manifest, in bytes: some 100,000 files. The store gives no more at a time, so a longer
/// one could be written and not read back.
const MAX_MANIFEST_BYTES: u32 = 64 << 20;

/// How names end: of a manifest, and of the note that nothing of its commit is left to do.
const MANIFEST: &str = ".json";
const COMPLETE: &str = ".complete";

/// What a blob gives at a time, in bytes.
const READ_BYTES: u32 = 16 << 20;

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    number: u64,
    pub run: String,
    /// The run of the commit before.
    base: Option<String>,
    pub job: String,
    pub tenant: String,
    /// The components of the job; older commits do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Components>,
    /// What the reader of the next run is opened with.
    pub state: Option<String>,
    writer_version: String,
    pub files: Vec<StagedFile>,
}

/// Who took part in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Components {
    pub reader: Component,
    pub writer: Component,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    pub name: String,
    pub version: String,
    /// Of the `.wasm` file.
    pub digest: String,
}

impl From<ComponentRef> for Component {
    fn from(found: ComponentRef) -> Self {
        Self {
            name: found.name,
            version: found.version,
            digest: found.digest,
        }
    }
}

/// What a commit has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was decided before: only the publishing may be unfinished.
    Finish(Box<Manifest>),
    /// Create the manifest with this number.
    Create(u64),
}

/// Where the manifests of a job are.
pub fn folder(path: &str, tenant: &str, job: &str) -> String {
    format!(
        "{}/_dativo/{}/{}/",
        path.trim_end_matches('/'),
        segment(tenant),
        segment(job)
    )
}

/// Any name as one segment of a path.
fn segment(name: &str) -> String {
    let mut segment = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => segment.push(byte.into()),
            // A dot inside a name is kept, so that a segment is never `.` or `..`.
            b'.' if !segment.is_empty() => segment.push('.'),
            _ => segment.push_str(&format!("~{byte:02x}")),
        }
    }
    segment
}

/// The last commit.
pub struct Newest {
    pub manifest: Manifest,
    /// Nothing of it is left to do.
    pub is_complete: bool,
}

/// The manifest with the highest number, if there is one.
pub fn newest(folder: &str) -> Result<Option<Newest>> {
    let objects = store::list(folder)?;
    let numbered = objects
        .iter()
        .filter_map(|object| Some((number(&object.url, MANIFEST)?, object)));
    let Some((number, object)) = numbered.max_by_key(|(number, _)| *number) else {
        return Ok(None);
    };
    let unreadable = |reason: String| {
        Error::invalid_data(format!(
            "the commit `{}` cannot be read: {reason}",
            object.url
        ))
        .hint("restore the file; without it nobody can say what was committed")
    };
    let text = bytes(&store::get(&object.url, 0, MAX_MANIFEST_BYTES)?);
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    if manifest.format != FORMAT || manifest.number != number {
        return Err(unreadable(format!(
            "it has format {} and number {}",
            manifest.format, manifest.number
        )));
    }
    let is_its_note = |url: &str| self::number(url, COMPLETE) == Some(number);
    let is_complete = objects.iter().any(|object| is_its_note(&object.url));
    Ok(Some(Newest {
        manifest,
        is_complete,
    }))
}

fn bytes(blob: &Blob) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let block = blob.read(bytes.len() as u64, READ_BYTES);
        if block.is_empty() {
            return bytes;
        }
        bytes.extend_from_slice(&block);
    }
}

/// The number in the name of a manifest, or of its note.
fn number(url: &str, ending: &str) -> Option<u64> {
    let name = url.rsplit('/').next()?.strip_suffix(ending)?;
    (name.len() == 20).then(|| name.parse().ok())?
}

/// What a commit of `run` has to do where `newest` is the last one.
pub fn decide(newest: Option<Manifest>, run: &Run) -> Result<Decision> {
    match newest {
        Some(newest) if newest.run == run.id => Ok(Decision::Finish(Box::new(newest))),
        Some(newest) if Some(&newest.run) == run.base.as_ref() => {
            Ok(Decision::Create(newest.number + 1))
        }
        None if run.base.is_none() => Ok(Decision::Create(1)),
        Some(newest) => Err(moved_on(&format!(
            "its last commit is now run {}",
            newest.run
        ))),
        None => Err(moved_on("its last commit is gone")),
    }
}

fn moved_on(what: &str) -> Error {
    Error::rejected(format!(
        "the target has moved on since the run began: {what}"
    ))
    .hint("run the job again; it starts from what the target holds now")
}

/// Refuses a commit that no later run could read.
fn check_length(bytes: usize, files: usize) -> Result<()> {
    if bytes <= MAX_MANIFEST_BYTES as usize {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!("{files} files are too many for one commit, whose list may take 64 MiB"),
    )
    .hint("raise `target_file_size`, or partition by columns with fewer values"))
}

impl Manifest {
    pub fn new(number: u64, run: Run, state: Option<String>, files: Vec<StagedFile>) -> Self {
        Self {
            format: FORMAT,
            number,
            run: run.id,
            base: run.base,
            job: run.job,
            tenant: run.tenant,
            components: Some(Components {
                reader: run.reader.into(),
                writer: run.writer.into(),
            }),
            state,
            writer_version: env!("CARGO_PKG_VERSION").to_owned(),
            files,
        }
    }

    /// The commit point. Fails as `rejected` where another run was first.
    pub fn create(&self, folder: &str) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|error| Error::internal(error.to_string()))?;
        check_length(text.len(), self.files.len())?;
        let url = format!("{folder}{:020}{MANIFEST}", self.number);
        store::put_new(&url, &Blob::from_list(&text)?).map_err(|error| match Error::from(error) {
            error if error.kind == ErrorKind::Rejected => moved_on(&error.message),
            error => error,
        })
    }

    /// Notes that nothing of the commit is left to do. Done already is success.
    pub fn note_complete(&self, folder: &str) -> Result<()> {
        let url = format!("{folder}{:020}{COMPLETE}", self.number);
        let note = Blob::from_list(self.run.as_bytes())?;
        match store::put_new(&url, &note).map_err(Error::from) {
            Err(error) if error.kind == ErrorKind::Rejected => Ok(()),
            outcome => outcome,
        }
    }

    /// Makes the files visible. Done already is success.
    pub fn publish(&self) -> Result<()> {
        // The commit is decided: whatever goes wrong here, its outcome is only not known yet.
        store::publish(&super::tokens(&self.files)).map_err(|error| {
            Error::unavailable(format!("not all files are published: {}", error.message))
        })
    }

    pub fn receipt(&self) -> Receipt {
        let outputs = self.files.iter().map(|file| Output {
            path: file.path.clone(),
            rows: file.rows,
            bytes: file.bytes,
            checksum: Some(format!("sha256:{}", file.sha256)),
        });
        Receipt {
            outputs: outputs.collect(),
            details: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component() -> ComponentRef {
        ComponentRef {
            name: "c".to_owned(),
            version: "1.0.0".to_owned(),
            digest: "sha256:00".to_owned(),
        }
    }

    fn run(id: &str, base: Option<&str>) -> Run {
        Run {
            id: id.to_owned(),
            job: "j".to_owned(),
            tenant: "t".to_owned(),
            base: base.map(str::to_owned),
            reader: component(),
            writer: component(),
        }
    }

    fn manifest(number: u64, id: &str) -> Manifest {
        Manifest::new(number, run(id, None), None, Vec::new())
    }

    #[test]
    fn a_commit_is_refused_where_the_target_moved_on() {
        let refused =
            |newest: Option<Manifest>, run: &Run| decide(newest, run).unwrap_err().message;
        assert!(refused(Some(manifest(1, "x")), &run("b", None)).contains("is now run x"));
        assert!(refused(Some(manifest(2, "x")), &run("b", Some("a"))).contains("is now run x"));
        assert!(refused(None, &run("b", Some("a"))).contains("is gone"));
    }

    #[test]
    fn a_commit_that_could_not_be_read_back_is_refused() {
        assert!(check_length(64 << 20, 1).is_ok());
        assert_eq!(
            check_length((64 << 20) + 1, 1).unwrap_err().kind,
            ErrorKind::LimitExceeded
        );
    }

    #[test]
    fn a_commit_takes_the_next_number_or_finishes_what_it_decided() {
        let check =
            |newest, run: &Run, expected| assert_eq!(decide(newest, run).unwrap(), expected);
        check(None, &run("a", None), Decision::Create(1));
        check(
            Some(manifest(7, "a")),
            &run("b", Some("a")),
            Decision::Create(8),
        );
        check(
            Some(manifest(7, "b")),
            &run("b", Some("a")),
            Decision::Finish(Box::new(manifest(7, "b"))),
        );
    }

    #[test]
    fn names_become_one_safe_segment() {
        assert_eq!(folder("out/", "acme", "a.b"), "out/_dativo/acme/a.b/");
        assert_eq!(
            folder("out", "..", "a/../b"),
            "out/_dativo/~2e./a~2f..~2fb/"
        );
        assert_eq!(segment("ä b"), "~c3~a4~20b");
    }

    #[test]
    fn only_numbered_objects_are_manifests() {
        assert_eq!(
            number("out/_dativo/t/j/00000000000000000012.json", MANIFEST),
            Some(12)
        );
        assert_eq!(number("out/_dativo/t/j/12.json", MANIFEST), None);
        assert_eq!(
            number("out/_dativo/t/j/00000000000000000012.json.tmp", MANIFEST),
            None
        );
    }
}
