//! On real folders: refusals, then uploads through every place a crash can stop them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::{Staged, stream::ByteStream};
use super::*;
use crate::capabilities::aws::Aws;
use crate::capabilities::failure::ErrorKind;
use crate::job::{AwsSettings, Secrets};

const RUN: &str = "0199-run";

struct Bench {
    folder: TempDir,
    grant: Grant,
}

fn bench(rules: &[&str]) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let rules: Vec<String> = rules.iter().map(|r| (*r).to_owned()).collect();
    let root = folder.path().canonicalize().unwrap();
    Bench {
        grant: Grant::parse(&rules, &root).unwrap(),
        folder,
    }
}

fn out() -> Bench {
    bench(&["read out/**", "write out/**"])
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Place {
        self.grant.object(Access::Read, name).unwrap()
    }

    fn write(&self, name: &str) -> Place {
        self.grant.object(Access::Write, name).unwrap()
    }

    fn stage(&self, name: &str, bytes: &[u8]) -> Staged {
        let mut upload = Upload::create(&self.write(name), RUN).unwrap();
        upload.put(1, &[bytes]).unwrap();
        upload.stage().unwrap()
    }

    fn staged(&self) -> Vec<String> {
        list_staged(
            &self.grant,
            &self.grant.folder(Access::Write, "out/").unwrap(),
            RUN,
        )
        .unwrap()
    }

    fn names(&self, prefix: &str) -> Vec<String> {
        let place = self.grant.folder(Access::Read, prefix).unwrap();
        list(&self.grant, &place)
            .unwrap()
            .into_iter()
            .map(|object| object.url)
            .collect()
    }

    /// Everything below the folder, hidden files too.
    fn all_files(&self) -> Vec<String> {
        fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() && !path.is_symlink() {
                    true => walk(root, &path, found),
                    false => found.push(path.strip_prefix(root).unwrap().display().to_string()),
                }
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), self.folder.path(), &mut found);
        found.sort();
        found
    }
}

fn open_stream(place: &Place, offset: u64, compression: &str) -> Result<ByteStream> {
    let aws = Aws::new(&AwsSettings::default(), &Secrets::default());
    ByteStream::open(&aws, place, offset, compression)
}

#[track_caller]
fn fails<T>(outcome: Result<T>, kind: ErrorKind, reason: &str) {
    match outcome {
        Ok(_) => panic!("should fail with `{reason}`"),
        Err(failure) => {
            assert_eq!(failure.kind, kind, "{failure}");
            assert!(
                failure.message.contains(reason),
                "`{failure}` does not say `{reason}`"
            );
        }
    }
}

#[test]
fn follows_no_link_below_the_granted_folder() {
    let bench = out();
    bench.file("secret/a.csv", b"secret");
    bench.file("out/real/a.csv", b"mine");
    symlink(bench.path("secret"), bench.path("out/folder")).unwrap();
    symlink(bench.path("secret/a.csv"), bench.path("out/link.csv")).unwrap();
    symlink("real/a.csv", bench.path("out/inner.csv")).unwrap();
    for name in ["out/folder/a.csv", "out/link.csv", "out/inner.csv"] {
        fails(
            get(&bench.read(name), 0, 9),
            ErrorKind::Denied,
            "symbolic link",
        );
        fails(head(&bench.read(name)), ErrorKind::Denied, "symbolic link");
        fails(
            open_stream(&bench.read(name), 0, "none"),
            ErrorKind::Denied,
            "symbolic link",
        );
    }
    fails(
        put_new(&bench.write("out/folder/new"), b"x"),
        ErrorKind::Denied,
        "symbolic link",
    );
    fails(
        put_new(&bench.write("out/link.csv"), b"x"),
        ErrorKind::Rejected,
        "exists",
    );
    let staged = bench.stage("out/folder/new", b"x");
    fails(
        publish(&bench.grant, &staged.token),
        ErrorKind::Denied,
        "symbolic link",
    );
    assert_eq!(fs::read(bench.path("secret/a.csv")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(bench.path("secret")).unwrap().count(), 1);
    assert_eq!(
        bench.names("out/"),
        [
            "out/folder",
            "out/inner.csv",
            "out/link.csv",
            "out/real/a.csv"
        ]
    );
}

#[test]
fn follows_a_staging_folder_that_is_a_link_nowhere() {
    let bench = out();
    fs::create_dir_all(bench.path("out")).unwrap();
    fs::create_dir(bench.path("elsewhere")).unwrap();
    symlink(bench.path("elsewhere"), bench.path("out/.dativo-staged")).unwrap();
    fails(
        Upload::create(&bench.write("out/a"), RUN),
        ErrorKind::Denied,
        "symbolic link",
    );
    assert_eq!(fs::read_dir(bench.path("elsewhere")).unwrap().count(), 0);
}

#[test]
fn an_object_that_the_grant_spells_may_be_a_link() {
    let bench = bench(&["read data/a.csv"]);
    bench.file("far/real.csv", b"1,2");
    fs::create_dir(bench.path("data")).unwrap();
    symlink(bench.path("far/real.csv"), bench.path("data/a.csv")).unwrap();
    assert_eq!(get(&bench.read("data/a.csv"), 0, 9).unwrap(), b"1,2");
    assert_eq!(head(&bench.read("data/a.csv")).unwrap().size_bytes, 3);
}

#[test]
fn names_what_is_missing_or_no_object() {
    let bench = out();
    fails(
        head(&bench.read("out/a")),
        ErrorKind::NotFound,
        "`out/a` does not exist",
    );
    fs::create_dir_all(bench.path("out/folder")).unwrap();
    fails(
        head(&bench.read("out/a")),
        ErrorKind::NotFound,
        "`out/a` does not exist",
    );
    fails(
        head(&bench.read("out/folder")),
        ErrorKind::Rejected,
        "folder",
    );
    bench.file("out/a", b"");
    fails(
        get(&bench.read("out/a/b"), 0, 1),
        ErrorKind::Rejected,
        "not a folder",
    );
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        bench.path("out/pipe"),
        rustix::fs::Mode::from_raw_mode(0o666),
    )
    .unwrap();
    fails(
        get(&bench.read("out/pipe"), 0, 1),
        ErrorKind::Rejected,
        "not a regular file",
    );
}

#[test]
fn gets_a_range() {
    let bench = out();
    bench.file("out/a", b"0123456789");
    let place = bench.read("out/a");
    assert_eq!(get(&place, 0, 4).unwrap(), b"0123");
    assert_eq!(get(&place, 8, 100).unwrap(), b"89");
    assert_eq!(get(&place, 10, 100).unwrap(), b"");
    assert_eq!(get(&place, u64::MAX, u32::MAX >> 8).unwrap(), b"");
    let object = head(&place).unwrap();
    assert_eq!((object.url.as_str(), object.size_bytes), ("out/a", 10));
    assert!(object.modified_ms > 1_600_000_000_000);
}

#[test]
fn puts_a_new_object_and_never_replaces_one() {
    let bench = out();
    put_new(&bench.write("out/x/commit.json"), b"one").unwrap();
    fails(
        put_new(&bench.write("out/x/commit.json"), b"two"),
        ErrorKind::Rejected,
        "exists already",
    );
    assert_eq!(fs::read(bench.path("out/x/commit.json")).unwrap(), b"one");
    assert_eq!(bench.all_files(), ["out/x/commit.json"]);
    assert!(!bench.path("out/.dativo-staged").exists());
}

#[test]
fn removes_what_a_killed_put_left() {
    let bench = out();
    bench.file("out/.dativo-staged/.put/abandoned", b"half");
    put_new(&bench.write("out/a"), b"one").unwrap();
    assert_eq!(bench.all_files(), ["out/a"]);
}

#[test]
fn one_of_many_puts_wins() {
    let bench = out();
    let wins: usize = std::thread::scope(|scope| {
        let bench = &bench;
        let threads: Vec<_> = (0..8)
            .map(|i| {
                scope.spawn(move || usize::from(put_new(&bench.write("out/a"), &[i; 1000]).is_ok()))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(wins, 1);
    let bytes = fs::read(bench.path("out/a")).unwrap();
    assert!(bytes.len() == 1000 && bytes.iter().all(|b| *b == bytes[0]));
}

#[test]
fn puts_side_by_side_do_not_take_each_other_for_abandoned() {
    let bench = out();
    std::thread::scope(|scope| {
        let bench = &bench;
        for thread in 0..8 {
            scope.spawn(move || {
                for put in 0..100 {
                    put_new(&bench.write(&format!("out/{thread}-{put}")), b"x").unwrap();
                }
            });
        }
    });
    assert_eq!(bench.all_files().len(), 800);
}

#[test]
fn lists_covered_objects_in_order_of_their_names() {
    let bench = bench(&["read data/**/*.csv"]);
    for name in [
        "data/b.csv",
        "data/a/x.csv",
        "data/a-b.csv",
        "data/readme.md",
        "data/.dativo-staged/r/x.csv",
        "other/c.csv",
    ] {
        bench.file(name, b"1");
    }
    assert_eq!(
        bench.names("data/"),
        ["data/a-b.csv", "data/a/x.csv", "data/b.csv"]
    );
    assert_eq!(bench.names("data/a/"), ["data/a/x.csv"]);
    assert_eq!(bench.names("data/none/"), Vec::<String>::new());
    bench.file("data/a b.csv", b"1");
    let url = format!(
        "file://{}/data/",
        bench.folder.path().canonicalize().unwrap().display()
    );
    let urls = bench.names(&url);
    assert_eq!(urls[0], url.clone() + "a%20b.csv");
    assert_eq!(get(&bench.read(&urls[0]), 0, 9).unwrap(), b"1");
}

#[test]
fn parts_may_come_in_any_order() {
    let bench = out();
    let mut upload = Upload::create(&bench.write("out/y=1/a.parquet"), RUN).unwrap();
    upload.put(3, &[b"e", b"f"]).unwrap();
    upload.put(2, &[b"cd"]).unwrap();
    fails(upload.put(2, &[b"cd"]), ErrorKind::Rejected, "twice");
    upload.put(1, &[b"a", b"", b"b"]).unwrap();
    fails(upload.put(1, &[b"a"]), ErrorKind::Rejected, "twice");
    upload.put(4, &[b"g"]).unwrap();
    fails(upload.put(0, &[b"a"]), ErrorKind::LimitExceeded, "part 0");
    fails(
        upload.put(10_001, &[b"a"]),
        ErrorKind::LimitExceeded,
        "10000",
    );
    let staged = upload.stage().unwrap();
    assert_eq!(staged.bytes, 7);
    assert_eq!(
        staged.sha256,
        "7d1a54127b222502f5b79b5fb0803061152a44f92b37e23c6527baf665d4da9a"
    );
    assert!(staged.url.starts_with("file:///") && staged.url.ends_with("/out/y=1/a.parquet"));
    assert!(!bench.path("out/y=1").exists());
    assert_eq!(bench.names("out/"), Vec::<String>::new());
    publish(&bench.grant, &staged.token).unwrap();
    assert_eq!(
        fs::read(bench.path("out/y=1/a.parquet")).unwrap(),
        b"abcdefg"
    );
    assert_eq!(bench.all_files(), ["out/y=1/a.parquet"]);
}

#[test]
fn refuses_to_stage_with_a_part_missing_and_leaves_nothing() {
    let bench = out();
    let mut upload = Upload::create(&bench.write("out/a"), RUN).unwrap();
    upload.put(1, &[b"a"]).unwrap();
    upload.put(3, &[b"c"]).unwrap();
    fails(upload.stage(), ErrorKind::Rejected, "part 2 is missing");
    assert_eq!(bench.all_files(), Vec::<String>::new());
    drop(Upload::create(&bench.write("out/a"), RUN).unwrap());
    assert_eq!(bench.all_files(), Vec::<String>::new());
    assert!(!bench.path("out/.dativo-staged").exists());
    fails(
        Upload::create(&bench.write("out/a"), "../x"),
        ErrorKind::Rejected,
        "run id",
    );
}

#[test]
fn nothing_staged_looks_like_a_data_file() {
    let bench = out();
    bench.stage("out/a.parquet", b"1");
    for file in bench.all_files() {
        assert!(file.starts_with("out/.dativo-staged/"), "{file}");
        assert!(
            file.ends_with(".part") || file.ends_with(".token"),
            "{file}"
        );
    }
}

#[test]
fn publishes_again_without_a_change() {
    let bench = out();
    let staged = bench.stage("out/a", b"abc");
    publish(&bench.grant, &staged.token).unwrap();
    publish(&bench.grant, &staged.token).unwrap();
    discard(&bench.grant, &staged.token).unwrap();
    assert_eq!(bench.all_files(), ["out/a"]);
    // Another attempt of the same run staged the same bytes.
    let again = bench.stage("out/a", b"abc");
    publish(&bench.grant, &again.token).unwrap();
    assert_eq!(bench.all_files(), ["out/a"]);
}

#[test]
fn never_publishes_over_other_bytes() {
    let bench = out();
    bench.file("out/a", b"old");
    let staged = bench.stage("out/a", b"new");
    fails(
        publish(&bench.grant, &staged.token),
        ErrorKind::Rejected,
        "exists already",
    );
    assert_eq!(fs::read(bench.path("out/a")).unwrap(), b"old");
    assert_eq!(bench.staged(), [staged.token]);
}

#[test]
fn discards_once_and_for_all() {
    let bench = out();
    let staged = bench.stage("out/a", b"abc");
    discard(&bench.grant, &staged.token).unwrap();
    discard(&bench.grant, &staged.token).unwrap();
    fails(
        publish(&bench.grant, &staged.token),
        ErrorKind::NotFound,
        "discarded",
    );
    assert!(!bench.path("out/.dativo-staged").exists());
    fs::remove_dir(bench.path("out")).unwrap();
    discard(&bench.grant, &staged.token).unwrap();
    fails(
        publish(&bench.grant, &staged.token),
        ErrorKind::NotFound,
        "discarded",
    );
}

#[test]
fn finds_what_a_killed_process_staged_or_began() {
    let bench = out();
    let staged = bench.stage("out/y=1/a", b"abc");
    let mut begun = Upload::create(&bench.write("out/y=2/b"), RUN).unwrap();
    begun.put(1, &[b"half"]).unwrap();
    begun.put(3, &[b"early"]).unwrap();
    std::mem::forget(begun);
    let tokens = bench.staged();
    assert_eq!(tokens[0], staged.token);
    assert_eq!(tokens.len(), 2);
    fails(
        publish(&bench.grant, &tokens[1]),
        ErrorKind::Rejected,
        "never ended",
    );
    let below = bench.grant.folder(Access::Write, "out/y=1/").unwrap();
    assert_eq!(
        list_staged(&bench.grant, &below, RUN).unwrap(),
        std::slice::from_ref(&staged.token)
    );
    let all = bench.grant.folder(Access::Write, "out/").unwrap();
    assert_eq!(
        list_staged(&bench.grant, &all, "other-run").unwrap(),
        Vec::<String>::new()
    );

    // A crash between the bytes and their token leaves bytes that can be discarded.
    let id = tokens[1].split("\"id\":\"").nth(1).unwrap()[..36].to_owned();
    fs::remove_file(bench.path(&format!("out/.dativo-staged/{RUN}/{id}.token"))).unwrap();
    let orphan = &bench.staged()[1];
    fails(publish(&bench.grant, orphan), ErrorKind::Denied, "folder");
    discard(&bench.grant, orphan).unwrap();
    discard(&bench.grant, &staged.token).unwrap();
    assert_eq!(bench.all_files(), Vec::<String>::new());
}

#[test]
fn cleans_up_after_a_crash_between_the_move_and_the_end_of_publish() {
    let bench = out();
    let staged = bench.stage("out/a", b"abc");
    let part = bench
        .all_files()
        .into_iter()
        .find(|f| f.ends_with(".part"))
        .unwrap();
    fs::rename(bench.path(&part), bench.path("out/a")).unwrap();
    assert_eq!(bench.staged(), Vec::<String>::new());
    assert_eq!(bench.all_files(), ["out/a"]);
    publish(&bench.grant, &staged.token).unwrap();
    assert_eq!(fs::read(bench.path("out/a")).unwrap(), b"abc");
}

#[test]
fn believes_nothing_in_a_token() {
    let bench = bench(&["write out/**", "read out/**", "read data/**"]);
    bench.file("data/precious", b"abc");
    let token = bench.stage("out/a", b"abc").token;
    let root = bench
        .folder
        .path()
        .canonicalize()
        .unwrap()
        .display()
        .to_string();
    let out_root = format!("{root}/out");
    let id = &token.split("\"id\":\"").nth(1).unwrap()[..36];
    for (from, to, kind, reason) in [
        (
            out_root.as_str(),
            root.as_str(),
            ErrorKind::Denied,
            "outside the grant",
        ),
        (&out_root, "/", ErrorKind::Denied, "outside the grant"),
        (
            &out_root,
            &format!("{root}/data"),
            ErrorKind::Denied,
            "outside the grant",
        ),
        (
            &out_root,
            &format!("{root}/out/../data"),
            ErrorKind::Denied,
            "`..`",
        ),
        (
            "\"name\":\"a\"",
            "\"name\":\"../data/new\"",
            ErrorKind::Denied,
            "`..`",
        ),
        (
            "\"name\":\"a\"",
            "\"name\":\"/etc/passwd\"",
            ErrorKind::Denied,
            "`//`",
        ),
        (
            "\"name\":\"a\"",
            "\"name\":\".dativo-staged/x\"",
            ErrorKind::Denied,
            "unpublished",
        ),
        (RUN, "../..", ErrorKind::Rejected, "run id"),
        (
            id,
            "../../../data/precious",
            ErrorKind::Rejected,
            "id is malformed",
        ),
        (
            id,
            &id.to_uppercase(),
            ErrorKind::Rejected,
            "id is malformed",
        ),
        (
            "\"version\":1",
            "\"version\":2",
            ErrorKind::Rejected,
            "version 2",
        ),
        ("{", "{\"more\":1,", ErrorKind::Rejected, "more"),
        ("{", "", ErrorKind::Rejected, "not a token"),
    ] {
        assert!(token.contains(from), "{from}");
        let hostile = token.replacen(from, to, 1);
        fails(publish(&bench.grant, &hostile), kind, reason);
        fails(discard(&bench.grant, &hostile), kind, reason);
    }
    let read_only = Grant::parse(&["read out/**".to_owned()], Path::new(&root)).unwrap();
    fails(
        publish(&read_only, &token),
        ErrorKind::Denied,
        "grants no write",
    );
    assert_eq!(fs::read(bench.path("data/precious")).unwrap(), b"abc");
    publish(&bench.grant, &token).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 0).unwrap()
}

type Pack = fn(&[u8]) -> Vec<u8>;

/// A name that tells the compression, and what makes it.
const PACKERS: [(&str, Pack); 3] = [
    ("out/a.csv.GZ", gzip),
    ("out/a.csv.bz2", bzip2),
    ("out/a.csv.zst", zstd),
];

fn drain(mut stream: ByteStream, max: u32) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next(max)? {
        assert!(!bytes.is_empty() && bytes.len() <= max as usize);
        all.extend(bytes);
    }
    Ok(all)
}

#[test]
fn streams_bytes_plain_from_an_offset_and_out_of_compressed_files() {
    let bench = out();
    let text = "line of text\n".repeat(20_000);
    bench.file("out/a.csv", text.as_bytes());
    let (first, second) = text.split_at(100_000);
    // Several members, streams or frames in a file are one text.
    for (name, pack) in PACKERS {
        bench.file(
            name,
            &[pack(first.as_bytes()), pack(second.as_bytes())].concat(),
        );
    }
    for (name, offset, compression, expected) in [
        ("out/a.csv", 0, "none", text.as_str()),
        ("out/a.csv", 7, "auto", &text[7..]),
        ("out/a.csv", u64::MAX, "none", ""),
        ("out/a.csv.GZ", 0, "auto", &text),
        ("out/a.csv.GZ", 0, "gzip", &text),
        ("out/a.csv.bz2", 0, "auto", &text),
        ("out/a.csv.bz2", 0, "bzip2", &text),
        ("out/a.csv.zst", 0, "auto", &text),
        ("out/a.csv.zst", 0, "zstd", &text),
    ] {
        for max in [1000, 65_536, u32::MAX] {
            let stream = open_stream(&bench.read(name), offset, compression).unwrap();
            assert!(
                drain(stream, max).unwrap() == expected.as_bytes(),
                "{name} {offset} {compression} {max}"
            );
        }
    }
    fails(
        open_stream(&bench.read("out/a.csv.GZ"), 1, "auto"),
        ErrorKind::InvalidConfig,
        "from its start",
    );
    fails(
        open_stream(&bench.read("out/a.csv"), 0, "zip"),
        ErrorKind::InvalidConfig,
        "`zip`",
    );
    let mut stream = open_stream(&bench.read("out/a.csv"), 0, "none").unwrap();
    fails(stream.next(0), ErrorKind::InvalidConfig, "0 bytes");
}

#[test]
fn tells_cut_data_from_damaged_data() {
    let bench = out();
    let text = "line of text\n".repeat(20_000);
    for (name, pack) in PACKERS {
        let whole = pack(text.as_bytes());
        // In the checksum of gzip and bzip2, and in the header of a zstd frame, which needs none.
        let at = if name.ends_with(".zst") {
            4
        } else {
            whole.len() - 6
        };
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        for (bytes, reason) in [
            (&whole[..whole.len() / 2], "cut"),
            (&whole[..whole.len() - 1], "cut"),
            (&[], "cut"),
            (&damaged, "damaged"),
            (b"a,b,c\n1,2,3\n1,2,3\n", "damaged"),
        ] {
            bench.file(name, bytes);
            let opened = open_stream(&bench.read(name), 0, "auto");
            let read = opened.and_then(|stream| drain(stream, 65_536));
            fails(read, ErrorKind::InvalidData, reason);
        }
    }
}

/// A zstd frame that asks for a window of 128 MiB would take that much of the host.
#[test]
fn refuses_a_zstd_window_that_is_too_large() {
    let bench = out();
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&[b'x'; 1000]).unwrap();
    bench.file("out/a.zst", &encoder.finish().unwrap());
    let stream = open_stream(&bench.read("out/a.zst"), 0, "zstd").unwrap();
    fails(
        drain(stream, 1000),
        ErrorKind::LimitExceeded,
        "a zstd window of more than 32 MiB",
    );
}

#[test]
fn what_a_host_call_holds_may_move_between_threads() {
    fn send<T: Send>() {}
    send::<Upload>();
    send::<ByteStream>();
    send::<Grant>();
    send::<Place>();
}
