//! The job files of a directory: found, read again when they change, each broken one for itself.
//!
//! Files in `DIR/TENANT/` are that tenant's: a job in there that names another tenant is refused, and so are symbolic links. Starts
//! nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
use crate::job::{self, LoadOptions, TenantLimits, Timing};
use crate::runs::JobKey;

/// Folders inside one another: of a tenant, and one below for order.
const MAX_DEPTH: usize = 3;

/// More files are a mistake.
const MAX_FILES: usize = 200_000;

/// How often a broken file is read again that did not change: a secret or an asset may be there now.
const AGAIN: Duration = Duration::from_secs(30);

pub struct Fleet {
    folder: PathBuf,
    options: LoadOptions,
    files: BTreeMap<PathBuf, File>,
}

/// What one file came to.
struct File {
    stamp: Stamp,
    /// Of the operator's file on the tenant that the job named.
    of_tenant: Option<Stamp>,
    read: Instant,
    found: Found,
}

#[derive(Clone)]
enum Found {
    Job(Box<Entry>),
    Broken(Vec<Error>),
}

/// A job that can run.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: JobKey,
    pub file: PathBuf,
    pub timing: Option<Timing>,
    pub limits: TenantLimits,
    /// What one instance of a component may take, and how many splits are read side by side where the job says so.
    pub memory_bytes: u64,
    pub parallelism: Option<u32>,
}

/// A file that is no job now.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Of the folder of jobs.
    pub file: PathBuf,
    /// Of whom it is, where that is known.
    pub tenant: Option<String>,
    pub errors: Vec<Error>,
}

/// What a look at the directory found.
#[derive(Default)]
pub struct Scan {
    /// Jobs that are new or changed.
    pub set: Vec<Entry>,
    pub removed: Vec<JobKey>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    bytes: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            bytes: metadata.len(),
            inode: metadata.ino(),
        }
    }
}

impl Fleet {
    pub fn new(folder: &Path, options: LoadOptions) -> Self {
        Self {
            folder: folder.to_owned(),
            options,
            files: BTreeMap::new(),
        }
    }

    /// Looks at the directory. Blocks for the time that its files take. Fails where it cannot be read: then all stays as it was.
    pub fn scan(&mut self) -> Result<Scan, Error> {
        let before: HashMap<JobKey, PathBuf> = self.jobs();
        let mut present = BTreeMap::new();
        walk(&self.folder, &mut present, 0).map_err(|error| {
            let message = format!(
                "the folder of jobs `{}` cannot be read",
                self.folder.display()
            );
            Error::new(Kind::JobInvalid, message)
                .caused_by(error)
                .hint("give a folder with job files: `--jobs DIR`")
        })?;
        self.files.retain(|path, _| present.contains_key(path));
        let mut read = Vec::new();
        for (path, is_link_or_stamp) in present {
            let (stamp, is_link) = is_link_or_stamp;
            let known = self.files.get(&path);
            let is_same = known.is_some_and(|file| {
                let is_stale =
                    matches!(file.found, Found::Broken(_)) && file.read.elapsed() > AGAIN;
                file.stamp == stamp && !is_stale && file.of_tenant == self.tenant_stamp(&file.found)
            });
            if is_same {
                continue;
            }
            let found = match is_link {
                true => Found::Broken(vec![refused(
                    &path,
                    "is a symbolic link",
                    "put the file itself there",
                )]),
                false => self.load(&path),
            };
            let file = File {
                stamp,
                of_tenant: self.tenant_stamp(&found),
                read: Instant::now(),
                found,
            };
            self.files.insert(path.clone(), file);
            read.push(path);
        }
        let twice = self.refuse_twice();
        let after = self.jobs();
        let removed = before.keys().filter(|key| !after.contains_key(key));
        let mut scan = Scan {
            removed: removed.cloned().collect(),
            set: Vec::new(),
        };
        for path in read {
            if let Some(File {
                found: Found::Job(entry),
                ..
            }) = self.files.get(&path)
                && !twice.contains(&path)
            {
                scan.set.push((**entry).clone());
            }
        }
        Ok(scan)
    }

    /// The next look takes every file for new.
    pub fn read_again(&mut self) {
        for file in self.files.values_mut() {
            file.stamp = Stamp::default();
        }
    }

    /// The jobs and their files.
    fn jobs(&self) -> HashMap<JobKey, PathBuf> {
        let entries = self.entries();
        entries
            .map(|entry| (entry.key.clone(), entry.file.clone()))
            .collect()
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.files.values().filter_map(|file| match &file.found {
            Found::Job(entry) => Some(&**entry),
            Found::Broken(_) => None,
        })
    }

    pub fn broken(&self) -> impl Iterator<Item = Broken> {
        self.files
            .iter()
            .filter_map(|(path, file)| match &file.found {
                Found::Job(_) => None,
                Found::Broken(errors) => Some(Broken {
                    file: path.strip_prefix(&self.folder).unwrap_or(path).to_owned(),
                    tenant: self.owner(path).map(str::to_owned),
                    errors: errors.clone(),
                }),
            })
    }

    /// What a job may use is in the file on its tenant.
    fn tenant_stamp(&self, found: &Found) -> Option<Stamp> {
        let (Found::Job(entry), Some(dir)) = (found, &self.options.tenants_dir) else {
            return None;
        };
        let file = dir.join(format!("{}.yaml", entry.key.tenant));
        std::fs::metadata(file).ok().map(|found| Stamp::of(&found))
    }

    /// Whose folder a file is in.
    fn owner<'a>(&self, path: &'a Path) -> Option<&'a str> {
        let below = path.strip_prefix(&self.folder).ok()?;
        let first = below.components().next()?.as_os_str();
        (below.components().count() > 1).then(|| first.to_str())?
    }

    fn load(&self, path: &Path) -> Found {
        let draft = job::load(path, &self.options);
        let Some(job) = draft.job.filter(|_| draft.problems.is_empty()) else {
            return Found::Broken(draft.problems);
        };
        if let Some(owner) = self.owner(path)
            && owner != job.tenant
        {
            let what = format!(
                "is in the folder of the tenant `{owner}` and names another in `tenant_id`"
            );
            let hint = "write the tenant of the folder, or put the file into its tenant's folder";
            return Found::Broken(vec![refused(path, &what, hint)]);
        }
        Found::Job(Box::new(Entry {
            key: JobKey {
                tenant: job.tenant,
                job: job.name,
            },
            file: path.to_owned(),
            timing: job.timing,
            limits: job.policy.limits,
            memory_bytes: job.limits.memory_bytes,
            parallelism: job.parallelism.map(Into::into),
        }))
    }

    /// Of two files with one job, the first by name is it. Gives the others.
    fn refuse_twice(&mut self) -> Vec<PathBuf> {
        let mut seen: HashMap<JobKey, PathBuf> = HashMap::new();
        let mut twice = Vec::new();
        for (path, file) in &mut self.files {
            let Found::Job(entry) = &file.found else {
                continue;
            };
            let Some(first) = seen.get(&entry.key) else {
                seen.insert(entry.key.clone(), path.clone());
                continue;
            };
            let name = first.file_name().unwrap_or_default().to_string_lossy();
            let what = format!(
                "is the job `{}` of its tenant, as `{name}` is",
                entry.key.job
            );
            file.found = Found::Broken(vec![refused(
                path,
                &what,
                "give one of them another `name`",
            )]);
            twice.push(path.clone());
        }
        twice
    }
}

fn refused(path: &Path, what: &str, hint: &str) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Error::new(Kind::JobInvalid, format!("the job file `{name}` {what}")).hint(hint)
}

/// The `.yaml` and `.yml` files below a folder, and whether each is a link.
fn walk(
    folder: &Path,
    found: &mut BTreeMap<PathBuf, (Stamp, bool)>,
    depth: usize,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        // Of the link itself, where it is one.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        let extension = path.extension().and_then(|extension| extension.to_str());
        if metadata.is_dir() && depth + 1 < MAX_DEPTH {
            // A folder that cannot be read is its owner's problem.
            let _ = walk(&path, found, depth + 1);
        } else if matches!(extension, Some("yaml" | "yml")) && found.len() < MAX_FILES {
            let is_file = metadata.is_file();
            found.insert(path, (Stamp::of(&metadata), !is_file));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(tenant: &str, name: &str) -> String {
        format!(
            "tenant_id: {tenant}\nname: {name}\nschedule: {{ interval: \"@hourly\" }}\n\
             source: {{ reader: {{ type: custom, implementation: csv, config: {{ file_path: a.csv }} }} }}\n\
             target: {{ writer: {{ type: custom, implementation: discard }} }}\n"
        )
    }

    fn fleet() -> (tempfile::TempDir, Fleet) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("acme")).unwrap();
        let fleet = Fleet::new(dir.path(), LoadOptions::default());
        (dir, fleet)
    }

    fn names(scan: &Scan) -> Vec<String> {
        let set = scan.set.iter().map(|entry| entry.key.job.clone());
        let removed = scan.removed.iter().map(|key| format!("-{}", key.job));
        set.chain(removed).collect()
    }

    #[test]
    fn files_come_change_and_go() {
        let (dir, mut fleet) = fleet();
        std::fs::write(dir.path().join("a.yaml"), job("t", "a")).unwrap();
        std::fs::write(dir.path().join("acme/b.yaml"), job("acme", "b")).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "no job").unwrap();
        assert_eq!(names(&fleet.scan().unwrap()), ["a", "b"]);
        assert!(names(&fleet.scan().unwrap()).is_empty());
        std::fs::write(dir.path().join("a.yaml"), job("t", "renamed")).unwrap();
        std::fs::remove_file(dir.path().join("acme/b.yaml")).unwrap();
        let mut found = names(&fleet.scan().unwrap());
        found.sort();
        assert_eq!(found, ["-a", "-b", "renamed"]);
    }

    #[test]
    fn a_broken_file_disables_its_job_alone_and_is_shown() {
        let (dir, mut fleet) = fleet();
        std::fs::write(dir.path().join("a.yaml"), job("t", "a")).unwrap();
        std::fs::write(dir.path().join("b.yaml"), job("t", "b")).unwrap();
        fleet.scan().unwrap();
        std::fs::write(dir.path().join("b.yaml"), "tenant_id: [\n").unwrap();
        assert_eq!(names(&fleet.scan().unwrap()), ["-b"]);
        let broken: Vec<_> = fleet.broken().collect();
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].file, Path::new("b.yaml"));
        assert_eq!(fleet.entries().count(), 1);
    }

    #[test]
    fn links_and_jobs_of_others_are_refused() {
        let (dir, mut fleet) = fleet();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(elsewhere.path(), job("acme", "stolen")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("acme/a.yaml")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("acme/etc")).unwrap();
        std::fs::write(dir.path().join("acme/b.yaml"), job("victim", "b")).unwrap();
        std::fs::write(dir.path().join("acme/c.yaml"), job("acme", "c")).unwrap();
        std::fs::write(dir.path().join("acme/d.yaml"), job("acme", "c")).unwrap();
        assert_eq!(names(&fleet.scan().unwrap()), ["c"]);
        let broken: Vec<String> = fleet
            .broken()
            .map(|broken| {
                assert_eq!(broken.tenant.as_deref(), Some("acme"));
                broken.errors[0].message().to_owned()
            })
            .collect();
        assert_eq!(broken.len(), 3, "{broken:?}");
        assert!(broken[0].contains("symbolic link"), "{broken:?}");
        assert!(broken[1].contains("names another"), "{broken:?}");
        assert!(broken[2].contains("as `c.yaml` is"), "{broken:?}");
    }
}
