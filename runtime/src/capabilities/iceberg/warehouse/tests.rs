//! Objects on the local file system, and what is refused before anything is touched.

use super::*;
use crate::job::{AwsSettings, Secrets};
use crate::staging::StagedBytes;

fn warehouse(root: &str) -> Result<Warehouse> {
    Warehouse::new(
        root,
        Aws::new(&AwsSettings::default(), &Secrets::default()),
        StagedBytes::new("warehouse"),
    )
}

fn temporary() -> (tempfile::TempDir, Warehouse) {
    let dir = tempfile::tempdir().unwrap();
    let made = warehouse(dir.path().join("lake").to_str().unwrap()).unwrap();
    (dir, made)
}

#[test]
fn refuses_roots_that_are_no_place() {
    for root in [
        "",
        "/",
        "file://host/a",
        "s3://",
        "s3:///a",
        "s3://b//a",
        "s3://b/../a",
        "gs://b/a",
        "/a?b",
        "/a#b",
    ] {
        let refused = warehouse(root).err().map(|failure| failure.kind);
        assert_eq!(refused, Some(ErrorKind::InvalidConfig), "{root}");
    }
}

#[test]
fn roots_have_one_form() {
    let here = std::env::current_dir().unwrap();
    let check = |root: &str, expected: &str| {
        assert_eq!(warehouse(root).unwrap().root(), expected, "{root}");
    };
    check("s3://b", "s3://b");
    check("s3a://b/a b/", "s3://b/a b");
    check("file:///a/b/", "file:///a/b");
    check("/a/./c/../b", "file:///a/b");
    check("lake", &format!("file://{}/lake", here.display()));
}

#[test]
fn holds_nothing_outside_the_root() {
    let (local, bucket) = (
        warehouse("/a/lake").unwrap(),
        warehouse("s3://b/lake").unwrap(),
    );
    for url in [
        "file:///a/lake",
        "file:///a/lake/",
        "file:///a/lakes/x",
        "file:///a/lake/../x",
        "file:///a/lake//x",
        "file:///a/lake/x/..",
        "file:///a/lake/./x",
        "file:////a/lake/x",
        "file:///a/lake/x\n",
        "s3://b/lake/x",
        "lake/x",
    ] {
        assert!(!local.holds(url), "{url}");
    }
    for url in [
        "s3://b/lakes/x",
        "s3://b/lake/../x",
        "s3://b/x",
        "s3://c/lake/x",
        "/lake/x",
        "s3://b/lake//x",
    ] {
        assert!(!bucket.holds(url), "{url}");
    }
    for url in [
        "file:///a/lake/x",
        "/a/lake/x/y.parquet",
        "file:/a/lake/d=%2F/x",
    ] {
        assert!(local.holds(url), "{url}");
    }
    assert!(bucket.holds("s3://b/lake/x") && bucket.holds("s3a://b/lake/x"));
}

#[tokio::test]
async fn denies_every_access_outside() {
    let (_dir, lake) = temporary();
    let url = format!("{}/../x", lake.root());
    let bytes = Bytes::from_static(b"x");
    let kinds = [
        lake.read(&url).await.err(),
        lake.write_new(&url, bytes).await.err(),
        lake.size(&url).await.err(),
        lake.digest(&url).await.err(),
        lake.remove(&url).await.err(),
        lake.list(&format!("{url}/")).await.err(),
        lake.upload(&url).await.err(),
    ];
    for failure in kinds {
        assert_eq!(failure.map(|failure| failure.kind), Some(ErrorKind::Denied));
    }
}

#[tokio::test]
async fn an_object_is_written_once() {
    let (_dir, lake) = temporary();
    let url = format!("{}/n/t/a b=%2F.txt", lake.root());
    assert_eq!(lake.read(&url).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(lake.size(&url).await.unwrap_err().kind, ErrorKind::NotFound);
    let write = |text: &'static str| lake.write_new(&url, Bytes::from_static(text.as_bytes()));
    write("hello").await.unwrap();
    write("hello").await.unwrap();
    assert_eq!(write("other").await.unwrap_err().kind, ErrorKind::Rejected);
    assert_eq!(lake.read(&url).await.unwrap(), "hello");
    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(lake.digest(&url).await.unwrap(), (5, sha256.to_owned()));
    lake.remove(&url).await.unwrap();
    lake.remove(&url).await.unwrap();
    assert_eq!(lake.size(&url).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_listing_has_all_that_is_finished() {
    let (_dir, lake) = temporary();
    let root = lake.root().to_owned();
    assert_eq!(lake.list(&format!("{root}/none/")).await.unwrap(), []);
    for name in ["b/2", "b/c/1", "a", "b/c/.x.part"] {
        lake.write_new(&format!("{root}/{name}"), Bytes::from(name))
            .await
            .unwrap();
    }
    let listed = lake.list(&format!("{root}/")).await.unwrap();
    let expected =
        [("a", 1), ("b/2", 3), ("b/c/1", 5)].map(|(name, bytes)| (format!("{root}/{name}"), bytes));
    assert_eq!(listed, expected);
    assert_eq!(
        lake.list(&format!("{root}/b/")).await.unwrap(),
        expected[1..]
    );
    assert!(lake.list(&format!("{root}/b")).await.is_err());
}

#[tokio::test]
async fn an_upload_is_there_when_it_is_finished_and_leaves_nothing_otherwise() {
    let (dir, lake) = temporary();
    let url = format!("{}/t/data/x.parquet", lake.root());
    let folder = dir.path().join("lake/t/data");
    let names = || std::fs::read_dir(&folder).unwrap().count();
    let mut upload = lake.upload(&url).await.unwrap();
    upload.put(Bytes::from_static(b"hel")).await.unwrap();
    assert_eq!(
        (
            names(),
            lake.list(&format!("{}/", lake.root())).await.unwrap().len()
        ),
        (1, 0)
    );
    drop(upload);
    assert_eq!(names(), 0);
    let mut upload = lake.upload(&url).await.unwrap();
    upload.put(Bytes::from_static(b"hel")).await.unwrap();
    upload.put(Bytes::from_static(b"lo")).await.unwrap();
    let written = upload.finish().await.unwrap();
    assert_eq!(
        lake.digest(&url).await.unwrap(),
        (5, written.sha256.clone())
    );
    assert_eq!((written.url, written.bytes, names()), (url, 5, 1));
}
