//! Grants for the object store: which objects a guest may read or write.
//!
//! Pure: no file system, no wasmtime. `host.rs` asks [`Grant::object`] or [`Grant::folder`] before every call and hands
//! the [`Place`] that it answers to the backend, which has no other way to learn where to go.
//!
//! A rule is `read PATTERN` or `write PATTERN`. `*` stands for any text inside one segment and `**` for any number of
//! segments; a pattern that ends in `/` or `/**` covers the tree below it, another pattern exactly what it spells.
//! A bucket is named in full: no wildcard stands in it.
//! In the names that a guest gives `*` is a plain character, and what could be read in two ways (`a/../b`, `a//b`,
//! `%2f` in a URL, a backslash) is refused rather than interpreted.

use std::fmt;
use std::path::{Path, PathBuf};

use super::name::{self, Segments, Store};
use crate::capabilities::failure::{ErrorKind, Failure};
use crate::error::{Error, Kind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// What a job grants. Without rules it covers nothing.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Absolute: what relative names begin at.
    folder: PathBuf,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    access: Access,
    store: Store,
    /// Of an absolute path, or of a bucket and a key. `**` only as a whole segment.
    pattern: Vec<String>,
}

/// An object or folder as a guest named it, resolved to an absolute path without `.`, `..` or empty segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As the guest wrote it, for messages and for names in a listing.
    written: String,
    store: Store,
    segments: Segments,
    /// It ended in `/`.
    is_folder: bool,
}

/// Why a target is not covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The job grants no such access to anything.
    Empty,
    /// It is granted for the other access only.
    Access,
    /// It is not granted.
    Outside,
}

/// A covered target: only [`Grant`] makes one.
#[derive(Debug, Clone)]
pub struct Place {
    target: Target,
    /// Folder that the user named, from which on nothing may lead outside: the segments of the pattern before the
    /// first wildcard. A prefix of the target.
    root: Segments,
    /// The pattern spells the object in full, so the user chose it whatever it is.
    is_exact: bool,
}

impl Grant {
    /// `folder` is the working directory of the run, absolute.
    pub fn parse(rules: &[String], folder: &Path) -> Result<Self, Error> {
        let rules = rules
            .iter()
            .map(|rule| Rule::parse(rule, folder))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            folder: folder.to_owned(),
            rules,
        })
    }

    /// Covers nothing.
    pub fn none() -> Self {
        Self {
            folder: PathBuf::new(),
            rules: Vec::new(),
        }
    }

    /// Whether this grant covers `target`. An empty grant covers nothing.
    pub fn allows(&self, access: Access, target: &Target) -> Result<Place, Denied> {
        let covers = |rule: &&Rule| rule.covers(target);
        match self.rules(access).find(covers) {
            Some(rule) => Ok(rule.place(target.clone())),
            None => match self.outside(access) {
                Denied::Outside if self.rules.iter().any(|rule| covers(&rule)) => {
                    Err(Denied::Access)
                }
                denied => Err(denied),
            },
        }
    }

    /// The object that a guest calls `name`, if it is one and covered.
    pub fn object(&self, access: Access, name: &str) -> Result<Place, Failure> {
        let target = Target::parse(name, &self.folder)?;
        if target.is_folder {
            return Err(Failure::new(
                ErrorKind::Denied,
                format!("`{name}` is the name of a folder, not of an object"),
            ));
        }
        self.allows(access, &target)
            .map_err(|denied| denied.failure(access, &target))
    }

    /// The folder that a guest calls `prefix`, if it may see something below it. What is below is covered one by one.
    pub fn folder(&self, access: Access, prefix: &str) -> Result<Place, Failure> {
        let target = Target::parse(prefix, &self.folder)?;
        if !target.is_folder {
            return Err(Failure::new(
                ErrorKind::Denied,
                format!("the folder `{prefix}` must end in `/`"),
            ));
        }
        match self
            .rules(access)
            .find(|rule| rule.store == target.store && target.segments.starts_with(rule.root()))
        {
            Some(rule) => Ok(Place {
                root: rule.root().to_vec(),
                target,
                is_exact: false,
            }),
            None => Err(self.outside(access).failure(access, &target)),
        }
    }

    /// Every granted root that lies in `place` or around it, each once.
    pub fn roots(&self, access: Access, place: &Place) -> Vec<Place> {
        let mut roots = self.all_roots(access);
        roots.retain(|root| root.contains(place) || place.contains(root));
        roots
    }

    /// Every granted root, each once.
    pub fn all_roots(&self, access: Access) -> Vec<Place> {
        let mut roots: Vec<(Store, &[String])> = self
            .rules(access)
            .map(|rule| (rule.store, rule.root()))
            .collect();
        roots.sort();
        roots.dedup();
        roots
            .into_iter()
            .map(|(store, root)| Place {
                target: Target::of_segments(store, root.to_vec(), true),
                root: root.to_vec(),
                is_exact: false,
            })
            .collect()
    }

    /// The granted root with this path, as a token names it.
    pub fn root(&self, access: Access, path: &str) -> Result<Place, Failure> {
        let target = Target::parse(&format!("{}/", path.trim_end_matches('/')), &self.folder)?;
        let is_root = |rule: &Rule| rule.store == target.store && rule.root() == target.segments;
        if self.rules(access).any(is_root) {
            return Ok(Place {
                root: target.segments.clone(),
                target,
                is_exact: false,
            });
        }
        Err(self.outside(access).failure(access, &target))
    }

    fn outside(&self, access: Access) -> Denied {
        match self.rules(access).next() {
            None => Denied::Empty,
            Some(_) => Denied::Outside,
        }
    }

    fn rules(&self, access: Access) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.access == access)
    }
}

impl Rule {
    fn parse(text: &str, folder: &Path) -> Result<Self, Error> {
        let refuse = |why: &str| Error::new(Kind::JobInvalid, format!("the grant `{text}` {why}"));
        let (access, pattern) = match text.trim().split_once(char::is_whitespace) {
            Some(("read", pattern)) => (Access::Read, pattern.trim_start()),
            Some(("write", pattern)) => (Access::Write, pattern.trim_start()),
            _ => {
                return Err(refuse("does not begin with `read` or `write`")
                    .hint("write a grant like `read data/*.csv` or `write out/orders/**`"));
            }
        };
        let named = name::parse(pattern, folder).map_err(|why| refuse(&why.to_string()))?;
        let mut pattern = named.segments;
        if pattern
            .iter()
            .any(|segment| segment.contains("**") && segment != "**")
        {
            return Err(refuse("has `**` inside a name").hint("`**` stands alone between two `/`"));
        }
        if named.is_folder {
            pattern.push("**".to_owned());
        }
        if pattern.is_empty() {
            return Err(refuse("names nothing"));
        }
        Ok(Self {
            access,
            store: named.store,
            pattern,
        })
    }

    fn covers(&self, target: &Target) -> bool {
        // The pattern `out/**` covers what is below `out`, and a segment at least is below it.
        self.store == target.store
            && name::matches(&self.pattern, &target.segments)
            && !(self.pattern.last().is_some_and(|last| last == "**")
                && !target.is_folder
                && target.segments.len() < self.pattern.len())
    }

    /// The segments before the first wildcard; of an exact pattern those of the object's folder.
    fn root(&self) -> &[String] {
        let literal = self
            .pattern
            .iter()
            .take_while(|segment| !segment.contains('*'))
            .count();
        &self.pattern[..literal.min(self.pattern.len() - 1)]
    }

    fn place(&self, target: Target) -> Place {
        let is_exact = self.pattern.iter().all(|segment| !segment.contains('*'));
        Place {
            target,
            root: self.root().to_vec(),
            is_exact,
        }
    }
}

impl Target {
    /// From the text of a guest. `folder` is what relative names begin at.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Failure> {
        let named = name::parse(text, folder).map_err(|why| why.failure(text))?;
        Ok(Self {
            written: text.to_owned(),
            store: named.store,
            segments: named.segments,
            is_folder: named.is_folder,
        })
    }

    fn of_segments(store: Store, segments: Segments, is_folder: bool) -> Self {
        let mut written = match store {
            Store::Local => name::path(&segments).display().to_string(),
            Store::S3 => name::url(store, &segments),
        };
        if is_folder && !segments.is_empty() {
            written.push('/');
        }
        Self {
            written,
            store,
            segments,
            is_folder,
        }
    }
}

impl Place {
    /// As the guest wrote it.
    pub fn written(&self) -> &str {
        &self.target.written
    }

    pub fn store(&self) -> Store {
        self.target.store
    }

    /// At S3: the bucket and the key. The key of a folder has no `/` at its end.
    pub fn bucket_and_key(&self) -> (&str, String) {
        split_bucket(&self.target.segments)
    }

    /// At S3: the bucket, and the key of the root.
    pub fn root_bucket_and_key(&self) -> (&str, String) {
        split_bucket(&self.root)
    }

    pub fn root_url(&self) -> String {
        name::url(self.target.store, &self.root)
    }

    /// At the file system.
    pub fn path(&self) -> PathBuf {
        name::path(&self.target.segments)
    }

    /// At the file system.
    pub fn root_path(&self) -> PathBuf {
        name::path(&self.root)
    }

    /// The segments below the root.
    pub fn below_root(&self) -> &[String] {
        self.target
            .segments
            .get(self.root.len()..)
            .unwrap_or_default()
    }

    /// The segments below a folder that contains this place.
    pub fn segments_below(&self, folder: &Place) -> Segments {
        self.target
            .segments
            .get(folder.target.segments.len()..)
            .unwrap_or_default()
            .to_vec()
    }

    pub fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// `file:///` and the absolute path, percent-encoded; or `s3://`, bucket and key.
    pub fn url(&self) -> String {
        name::url(self.target.store, &self.target.segments)
    }

    /// Whether `other` is in this folder or below it.
    pub fn contains(&self, other: &Place) -> bool {
        self.target.store == other.target.store
            && other.target.segments.starts_with(&self.target.segments)
    }

    /// What the guest calls an object below this folder: in the form in which it wrote the folder.
    pub fn name_below(&self, segments: &[String]) -> String {
        let below = segments.join("/");
        match self.target.store == Store::Local && self.target.written.starts_with("file://") {
            true => self.target.written.clone() + &name::encode(&below),
            false => self.target.written.clone() + &below,
        }
    }

    /// The object below this folder that `segments` name, if it is covered. It keeps the root of this folder.
    pub fn below(&self, grant: &Grant, access: Access, segments: &[String]) -> Option<Place> {
        let mut all = self.target.segments.clone();
        all.extend_from_slice(segments);
        let target = Target::of_segments(self.target.store, all, false);
        let place = grant.allows(access, &target).ok()?;
        Some(Place {
            root: self.root.clone(),
            ..place
        })
    }
}

fn split_bucket(segments: &[String]) -> (&str, String) {
    match segments.split_first() {
        Some((bucket, key)) => (bucket, key.join("/")),
        None => ("", String::new()),
    }
}

impl Denied {
    fn failure(self, access: Access, target: &Target) -> Failure {
        let name = &target.written;
        let message = match self {
            Denied::Empty => format!("the job grants no {access} access, and `{name}` needs it"),
            Denied::Access => format!("`{name}` is granted, but not for {access} access"),
            Denied::Outside => format!("`{name}` is outside the grant"),
        };
        Failure::new(ErrorKind::Denied, message).hint(format!(
            "add `grants: {{ object-store: [\"{access} {name}\"] }}` if the job should reach it"
        ))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(rules: &str) -> Grant {
        let rules: Vec<String> = rules
            .split(';')
            .map(str::trim)
            .filter(|r| !r.is_empty())
            .map(str::to_owned)
            .collect();
        Grant::parse(&rules, Path::new("/base")).unwrap()
    }

    #[track_caller]
    fn check(rules: &str, access: Access, name: &str, expected: Result<(), Denied>) {
        let target = Target::parse(name, Path::new("/base")).unwrap();
        let found = grant(rules).allows(access, &target).map(|_| ());
        assert_eq!(found, expected, "{access} {name} under `{rules}`");
    }

    #[test]
    fn allows_only_what_a_rule_covers() {
        use Access::{Read, Write};
        check("", Read, "data/a.csv", Err(Denied::Empty));
        check("write out/**", Read, "data/a.csv", Err(Denied::Empty));
        check(
            "write out/**; read data/**",
            Read,
            "out/a",
            Err(Denied::Access),
        );
        check("read data/*.csv", Read, "data/a.tsv", Err(Denied::Outside));
        check(
            "read data/*.csv",
            Read,
            "data/in/a.csv",
            Err(Denied::Outside),
        );
        check("read data/*.csv", Read, "data.csv", Err(Denied::Outside));
        check("read data/*.csv", Read, "data/a.csv", Ok(()));
        check("read data/*.csv", Read, "./data/a.csv", Ok(()));
        check("read data/*.csv", Read, "/base/data/a.csv", Ok(()));
        check("read data/*.csv", Read, "file:///base/data/a.csv", Ok(()));
        check("read data/a-*-b*.csv", Read, "data/a-1-b.csv", Ok(()));
        check(
            "read data/a-*-b*.csv",
            Read,
            "data/a-b.csv",
            Err(Denied::Outside),
        );
        check("read data/*x", Read, "data/x", Ok(()));
        check("read data/x*x", Read, "data/x", Err(Denied::Outside));
        check("read data/a.csv", Read, "data/a.csv", Ok(()));
        check(
            "read data/a.csv",
            Read,
            "data/a.csv.gz",
            Err(Denied::Outside),
        );
        check(
            "read data/a.csv",
            Read,
            "data/a.csv/b",
            Err(Denied::Outside),
        );
        check("write out/**", Write, "out/y=1/a.parquet", Ok(()));
        check("write out/", Write, "out/y=1/a.parquet", Ok(()));
        check("write out/", Write, "out", Err(Denied::Outside));
        check("write out/**", Write, "out", Err(Denied::Outside));
        check("write out/", Write, "outer/a", Err(Denied::Outside));
        check("read data/**/x/*.csv", Read, "data/x/a.csv", Ok(()));
        check("read data/**/x/*.csv", Read, "data/1/2/x/a.csv", Ok(()));
        check(
            "read data/**/x/*.csv",
            Read,
            "data/1/2/a.csv",
            Err(Denied::Outside),
        );
        check("read file:///data/in/", Read, "/data/in/a%20b", Ok(()));
        check("read file:///data/a%20b/", Read, "/data/a b/c", Ok(()));
        check("read ../in/*.csv", Read, "../in/a.csv", Ok(()));
        check("read ../in/*.csv", Read, "in/a.csv", Err(Denied::Outside));
        check("read a*", Read, "data/a*", Err(Denied::Outside));
    }

    #[test]
    fn buckets_and_files_are_apart() {
        use Access::{Read, Write};
        let rules = "read s3://lake/in/*.csv; write s3://lake/out/; read /lake/**";
        check(rules, Read, "s3://lake/in/a.csv", Ok(()));
        check(rules, Read, "s3://lake/in/a%2Fb?c#d.csv", Ok(()));
        for (access, name) in [
            (Read, "s3://lake/in/x/a.csv"),
            (Read, "s3://lake/inner/a.csv"),
            (Read, "s3://lake2/in/a.csv"),
            (Read, "s3://lake/a"),
            (Write, "s3://lake/outer/a"),
        ] {
            check(rules, access, name, Err(Denied::Outside));
        }
        check(rules, Write, "/lake/out/a", Err(Denied::Access));
        check(rules, Write, "s3://lake/out/y=1/a", Ok(()));
        check(rules, Read, "/lake/in/a", Ok(()));
        let grant = grant(rules);
        let place = grant.object(Write, "s3://lake/out/city=a%2Fb/ä").unwrap();
        assert_eq!(
            place.bucket_and_key(),
            ("lake", "out/city=a%2Fb/ä".to_owned())
        );
        assert_eq!(place.root_bucket_and_key(), ("lake", "out".to_owned()));
        assert_eq!(place.url(), "s3://lake/out/city=a%2Fb/ä");
        let folder = grant.folder(Read, "s3://lake/in/").unwrap();
        assert_eq!(folder.name_below(&["%".to_owned()]), "s3://lake/in/%");
        assert!(grant.folder(Read, "s3://lake/").is_err());
        assert!(grant.root(Write, "s3://lake/out").is_ok());
        assert!(grant.root(Write, "s3://lake").is_err());
        assert!(grant.root(Write, "/lake/out").is_err());
    }

    #[test]
    fn a_pattern_of_many_stars_is_decided_at_once() {
        let stars = "read ".to_owned() + &"**/a*a*a*a*a*/".repeat(60) + "b";
        check(
            &stars,
            Access::Read,
            &("aaaaaaaaaaaaaaaaaaaaaaaa/".repeat(100) + "c"),
            Err(Denied::Outside),
        );
    }

    #[track_caller]
    fn refuses(name: &str, reason: &str) {
        let failure = grant("read **; write **")
            .object(Access::Read, name)
            .unwrap_err();
        assert!(
            failure.message.contains(reason),
            "{name}: {}",
            failure.message
        );
        assert!(matches!(
            failure.kind,
            ErrorKind::Denied | ErrorKind::InvalidConfig
        ));
    }

    #[test]
    fn refuses_names_that_could_mean_something_else() {
        refuses("", "empty");
        refuses("data/../../etc/passwd", "`..` after a name");
        refuses("/../etc/passwd", "`..`");
        refuses("data/..", "`..`");
        refuses("data/./a", "`.`");
        refuses("data//a", "`//`");
        refuses("//etc/passwd", "`//`");
        refuses("data/a\0b", "control");
        refuses("data/a\nb", "control");
        refuses("data\\a", "backslash");
        refuses("data/%2e%2e/a", "percent-encoded");
        refuses("data/.%2E/a", "percent-encoded");
        refuses("file:///data/%2e%2e/a", "percent-encoded");
        refuses("file:///data%2fa", "percent-encoded");
        refuses("file:///data%5Ca", "percent-encoded");
        refuses("file:///data%00a", "percent-encoded");
        refuses("file:///data/%zz", "not percent-encoded UTF-8");
        refuses("file:///data/%ff", "not percent-encoded UTF-8");
        refuses("file:///data/%2", "not percent-encoded UTF-8");
        refuses("file:///data/é%é", "not percent-encoded UTF-8");
        refuses("file:///data/../a", "`..`");
        refuses("file:///data/a?b", "`?`");
        refuses("file:///data/a#b", "`?`");
        refuses("file://server/data/a", "form `file:///");
        refuses("file:data/a", "form `file:///");
        refuses("FILE:/data/a", "form `file:///");
        refuses("gs://bucket/a", "cannot be read or written");
        refuses("S3://bucket/a", "cannot be read or written");
        refuses("s3://", "no bucket");
        refuses("s3:///a", "no bucket");
        refuses("s3://../a", "no bucket");
        refuses("s3://bu*et/a", "no bucket");
        refuses("s3://user@bucket/a", "no bucket");
        refuses("s3://bucket:80/a", "no bucket");
        refuses("s3://bucket/../other/a", "`..`");
        refuses("s3://bucket/a/../b", "`..`");
        refuses("s3://bucket/./a", "`.`");
        refuses("s3://bucket//a", "`//`");
        refuses("s3://bucket/a//", "`//`");
        refuses("s3://bucket/%2e%2E/a", "percent-encoded");
        refuses("s3://bucket/a\\b", "backslash");
        refuses("s3://bucket/a\r\nb", "control");
        refuses("s3://bucket/a/.dativo-staged/b", "unpublished");
        refuses(&format!("s3://bucket/{}", "a".repeat(1025)), "1,024");
        refuses("s3://bucket", "folder");
        refuses("s3://bucket/a/", "folder");
        refuses("s3://bucket/a", "outside the grant");
        refuses("https://host/a", "cannot be read or written");
        refuses(&"a/".repeat(3000), "longer");
        refuses(&"a".repeat(256), "longer");
        refuses("out/.dativo-staged/run/x.part", "unpublished");
        refuses("out/", "folder");
        refuses("/", "folder");
    }

    #[test]
    fn keeps_names_that_hold_percent_signs_as_paths() {
        let place = grant("write out/**")
            .object(Access::Write, "out/city=a%2Fb/x")
            .unwrap();
        assert_eq!(place.path(), Path::new("/base/out/city=a%2Fb/x"));
        assert_eq!(place.url(), "file:///base/out/city=a%252Fb/x");
        let again = grant("write out/**")
            .object(Access::Write, &place.url())
            .unwrap();
        assert_eq!(again.path(), place.path());
    }

    #[track_caller]
    fn refuses_rule(rule: &str, reason: &str) {
        let error = Grant::parse(&[rule.to_owned()], Path::new("/base")).unwrap_err();
        assert_eq!(error.kind(), Kind::JobInvalid);
        assert!(error.message().contains(reason), "{error}");
    }

    #[test]
    fn refuses_rules_that_say_nothing() {
        refuses_rule("data/*.csv", "`read` or `write`");
        refuses_rule("append data/*.csv", "`read` or `write`");
        refuses_rule("read", "`read` or `write`");
        refuses_rule("read data/a**b", "`**` inside");
        refuses_rule("read data/../x/a", "`..` after a name");
        refuses_rule("read gs://bucket/a", "cannot be read or written");
        refuses_rule("read s3://*/a", "no bucket");
        refuses_rule("read s3://lake-*/a", "no bucket");
    }

    #[test]
    fn a_folder_is_visible_from_the_part_without_wildcards_down() {
        let grant = grant("read data/2024/*.csv; read one/a.csv");
        for (folder, root) in [
            ("data/2024/", "/base/data/2024"),
            ("data/2024/x/", "/base/data/2024"),
            ("one/", "/base/one"),
        ] {
            let place = grant.folder(Access::Read, folder).unwrap();
            assert_eq!(place.root_path(), Path::new(root));
        }
        for folder in ["data/", "/", "./", "one/../", "data/2024"] {
            assert_eq!(
                grant.folder(Access::Read, folder).unwrap_err().kind,
                ErrorKind::Denied,
                "{folder}"
            );
        }
        assert!(grant.root(Access::Read, "/base/one").is_ok());
        assert!(grant.root(Access::Read, "/base").is_err());
        assert!(grant.root(Access::Write, "/base/one").is_err());
    }
}
