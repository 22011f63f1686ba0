//! The dead letter and the target keep out of each other's folder.
//!
//! Both are folders with commits in them, under the same tenant and job: in one place, the commit of
//! one would be taken for the other's, and whoever reads the target would read refused rows.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Kind};
use crate::job::Job;
use crate::plan::{ComponentPlan, Plan};

/// Refuses a dead letter inside of what the target may write, or around it.
pub fn check(job: &Job, plan: &Plan) -> Result<(), Error> {
    let (Some(endpoint), Some(dead_letter)) = (&job.dead_letter, &plan.dead_letter) else {
        return Ok(());
    };
    let folder = std::env::current_dir().unwrap_or_default();
    for own in written(dead_letter) {
        for other in written(&plan.writer) {
            if overlap(&folder, own, other) {
                let (own, other) = (shown(own), shown(other));
                return Err(Error::new(
                    Kind::JobInvalid,
                    format!("the dead letter `{own}` and the target `{other}` are in one folder"),
                )
                .at(endpoint.locate("/path"))
                .hint(format!(
                    "give it a folder beside the target, such as `{other}-rejected`"
                )));
            }
        }
    }
    Ok(())
}

/// What a component may write, as its grants say.
fn written(plan: &ComponentPlan) -> impl Iterator<Item = &str> {
    let targets = plan.targets("object-store");
    targets.filter_map(|target| target.strip_prefix("write "))
}

/// The folder of a pattern, as it is written.
fn shown(pattern: &str) -> &str {
    let end = pattern.find('*').unwrap_or(pattern.len());
    pattern.get(..end).unwrap_or(pattern).trim_end_matches('/')
}

fn overlap(folder: &Path, one: &str, other: &str) -> bool {
    let (one, other) = (place(folder, one), place(folder, other));
    one.starts_with(&other) || other.starts_with(&one)
}

/// The folder of a pattern, from the root; without symbolic links, as far as it exists.
fn place(folder: &Path, pattern: &str) -> PathBuf {
    let written = shown(pattern);
    let path = match url::Url::parse(written).map(|url| url.to_file_path()) {
        Ok(Ok(path)) => path,
        _ => folder.join(written),
    };
    let mut place = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                place.pop();
            }
            other => place.push(other),
        }
    }
    let real = place.ancestors().find_map(|part| {
        let rest = place.strip_prefix(part).ok()?;
        Some(part.canonicalize().ok()?.join(rest))
    });
    real.unwrap_or(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        assert!(overlap(dir.path(), "real/**", "link/rejected/**"));
    }

    #[test]
    fn folders_overlap_however_they_are_written() {
        let check = |one: &str, other: &str, expected: bool| {
            let folder = Path::new("/nowhere/work");
            assert_eq!(overlap(folder, one, other), expected, "{one} {other}");
            assert_eq!(overlap(folder, other, one), expected, "{other} {one}");
        };
        check("out/**", "out/**", true);
        check("out/**", "./out/rejected/**", true);
        check("out/**", "/nowhere/work/out/**", true);
        check("out/**", "file:///nowhere/work/out/**", true);
        check("out/**", "../work/out/**", true);
        check("out/**", "out-rejected/**", false);
        check("lake/good/**", "lake/bad/**", false);
    }
}
