//! Texts of every shape: line ends, quotes, delimiters, encodings, very wide, very long, and empty.

use super::{check, cut, error, escaped, job_text, reads, refuses, shown, tables};
use crate::support::{TestDir, cli};

#[test]
fn broken_texts_are_refused_with_their_place() {
    check(
        "f.csv",
        &[
            refuses(
                "a,b\n1,2\n3\n",
                "",
                "`f.csv` line 3, column 2: the record has 1 field where 2 are expected",
                "check `delimiter` and `quote`",
            ),
            refuses(
                "a,b\n\"x\ny\",2\n3,4,5\n",
                "",
                "`f.csv` line 4, column 3: the record has 3 fields where 2 are expected",
                "correct the record",
            ),
            refuses(
                "a,b\n1,2\n,,\n",
                "",
                "`f.csv` line 3, column 3: the record has 3 fields where 2 are expected",
                "correct the record",
            ),
            refuses(
                "a,b\n1,\"2\n3,4\n",
                "",
                "`f.csv` line 2, column 2: the quote that opens here never closes",
                "`quote: \"\"`",
            ),
            refuses(
                "a,b\n1,\"2\" \n",
                "",
                "`f.csv` line 2, column 2: text follows a closing quote: ` \\n`",
                "double a quote",
            ),
            refuses(
                "a,b\r1,2\r",
                "",
                "`f.csv` line 1, column 2: a carriage return without a line feed outside quotes",
                "convert line ends",
            ),
            refuses(
                "a,b\n1,x\ry\n",
                "",
                "`f.csv` line 2, column 2: a carriage return without a line feed outside quotes",
                "quote the field",
            ),
            refuses(
                b"a,b\n1,M\xfcller\n",
                "",
                "`f.csv` line 2, byte 4: `0xfc` is not UTF-8",
                "latin",
            ),
            refuses(
                b"a,b\n1,cut \xe2\x82\n",
                "",
                "`f.csv` line 2, byte 7: `0xe2` is not UTF-8",
                "latin",
            ),
            refuses(
                b"\xff\xfea\x00,\x00b\x00\n\x00",
                "",
                "`f.csv` is UTF-16, not text",
                "iconv -f utf-16",
            ),
            refuses(
                "a,a\n1,2\n",
                "",
                "`f.csv`: columns 1 and 2 are both named `a`",
                "rename one",
            ),
        ],
    );
}

#[test]
fn empty_files_and_files_without_rows() {
    let declare = "`schema: [{name: id, type: int64}]`";
    check(
        "f.csv",
        &[
            refuses("", "", "`f.csv` has no header: it is empty", declare),
            refuses(
                "\u{feff}",
                "",
                "`f.csv` has no header: it is empty",
                declare,
            ),
            refuses("\n\r\n", "", "`f.csv` has no header: it is empty", declare),
            refuses(
                "",
                "header: false",
                "`f.csv` has no record: it is empty",
                declare,
            ),
            refuses(
                "one\ntwo\n",
                "skip_rows: 2",
                "`f.csv` has no header: it is empty after `skip_rows`",
                declare,
            ),
            refuses(
                "one\ntwo\n",
                "skip_rows: 3",
                "`f.csv` ends after line 2; `skip_rows` is 3",
                "lower `skip_rows`",
            ),
            reads("", "schema: [{name: id, type: int64}]", ""),
            reads("a,b\n", "", ""),
            reads("a,b", "", ""),
        ],
    );
    // A file of a header alone still has columns.
    let dir = TestDir::new();
    dir.write("f.csv", "a,b");
    let job = dir.write("job.yaml", &job_text("job", "file_path: f.csv", 1));
    let plan = cli(&dir, &["plan", job.to_str().unwrap(), "--json"]).json();
    let names: Vec<_> = plan["columns"].as_array().unwrap().iter().collect();
    assert_eq!(
        (names.len(), &names[0]["name"], &names[1]["name"]),
        (2, &"a".into(), &"b".into())
    );
}

#[test]
fn quotes_and_line_ends() {
    check(
        "f.csv",
        &[
            reads("a,b\n1,2", "", "a:int64|b:int64\n1|2"),
            reads("a,b\r\n1,2\r\n", "", "a:int64|b:int64\n1|2"),
            reads("a,b\r\n1,2\r", "", "a:int64|b:int64\n1|2"),
            reads(
                "a,b\r\n1,2\n3,4\r\n5,6\n",
                "",
                "a:int64|b:int64\n1|2\n3|4\n5|6",
            ),
            reads(
                "a,b\r\n\"x,y\",\"p\r\nq\"\n\"say \"\"hi\"\"\",\"\n\"\r\n",
                "",
                "a:string|b:string\nx,y|p\\r\\nq\nsay \"hi\"|\\n",
            ),
            reads(
                "\"a\",\"b \"\"x\"\"\"\n\"\"\"\",\"\"\"\"\"\"\n",
                "",
                "a:string|b \"x\":string\n\"|\"\"",
            ),
            reads(
                "a,b\n5\" disk, \"x\" \n",
                "",
                "a:string|b:string\n5\" disk| \"x\" ",
            ),
            reads("a,b\n x , y\n", "", "a:string|b:string\n x | y"),
            reads(
                "a,b,c\n,,\n\"\",x,\n",
                "",
                "a:string|b:string|c:string\n∅|∅|∅\n|x|∅",
            ),
            reads(
                "\n\na,b\n\n1,2\n\r\n\n3,4\n\n",
                "",
                "a:int64|b:int64\n1|2\n3|4",
            ),
            reads("a\nx\n\ny\n\"\"\n", "", "a:string\nx\n∅\ny\n"),
            reads("a\nx\n\"p\rq\"\n", "", "a:string\nx\np\\rq"),
            reads("a,b\n1,\"x\n", "quote: \"\"", "a:int64|b:string\n1|\"x"),
            reads(
                "a,b\n'x,''y''',\"z\"\n",
                "quote: \"'\"",
                "a:string|b:string\nx,'y'|\"z\"",
            ),
            reads(
                "a,b\n\0,x\n\"y\0z\",w\n",
                "",
                "a:string|b:string\n\\0|x\ny\\0z|w",
            ),
        ],
    );
}

#[test]
fn delimiters_headers_and_skipped_lines() {
    check(
        "f.csv",
        &[
            reads(
                "a;b\n1,5;\"x;y\"\n",
                "delimiter: \";\"",
                "a:string|b:string\n1,5|x;y",
            ),
            reads(
                "a\tb\n1\t\"x\ty\"\n",
                "delimiter: \"\\t\"",
                "a:int64|b:string\n1|x\ty",
            ),
            reads(
                "a\tb\n1\tx, y\n",
                "delimiter: '\\t'",
                "a:int64|b:string\n1|x, y",
            ),
            reads("a|b\n1|2\n", "delimiter: \"|\"", "a:int64|b:int64\n1|2"),
            reads(
                "1,x\n2,y\n",
                "header: false",
                "column_1:int64|column_2:string\n1|x\n2|y",
            ),
            reads(
                "report of \"today\n\na,b\n1,2\n",
                "skip_rows: 2",
                "a:int64|b:int64\n1|2",
            ),
            reads(
                "old,names,here\r\n1,2\r\n",
                "header: false, skip_rows: 1, schema: [{name: x, type: int64}, {name: y, type: string}]",
                "x:int64|y:string\n1|2",
            ),
            reads(
                ",b,\n1,2,3\n",
                "",
                "column_1:int64|b:int64|column_3:int64\n1|2|3",
            ),
        ],
    );
}

#[test]
fn escapes_make_a_character_plain_inside_quotes_only() {
    let escape = "escape: '\\'";
    check(
        "f.csv",
        &[
            refuses(
                "a\n\"x\\\"\n",
                escape,
                "`f.csv` line 2, column 1: the quote that opens here never closes",
                "`quote: \"\"`",
            ),
            reads(
                "a,b\n\"say \\\"hi\\\"\",1\n",
                escape,
                "a:string|b:int64\nsay \"hi\"|1",
            ),
            reads(
                "a,b\n\"x\\\\\",\"\\n\\\n\\,\"\n",
                escape,
                "a:string|b:string\nx\\|n\\n,",
            ),
            reads(
                "a,b\n\"\"\"x\"\"\",\"\\\\\"\"\\\"\"\n",
                escape,
                "a:string|b:string\n\"x\"|\\\"\"",
            ),
            reads(
                "a,b\nx\\,\\y\n\\\"z\",1\n",
                escape,
                "a:string|b:string\nx\\|\\y\n\\\"z\"|1",
            ),
            reads(
                "a,b\n\"x|\"y||\",1\n",
                "escape: \"|\"",
                "a:string|b:int64\nx\"y||1",
            ),
            // Without the key a backslash is a character as any other.
            reads(
                "a,b\n\"x\\\",\"\\\"\"\"\n",
                "",
                "a:string|b:string\nx\\|\\\"",
            ),
        ],
    );
}

#[test]
fn encodings() {
    check(
        "f.csv",
        &[
            reads("\u{feff}a,b\r\n1,2\n", "", "a:int64|b:int64\n1|2"),
            reads(
                "\u{feff}\"a,\nx\",b\n1,2\n",
                "",
                "a,\\nx:int64|b:int64\n1|2",
            ),
            reads(
                "a,b\n\u{feff}ä,\"漢字\n🦀\"\n",
                "",
                "a:string|b:string\n\u{feff}ä|漢字\\n🦀",
            ),
            reads(
                b"\xe4,b\nM\xfcller,\"\xa3\"\"5\"\n\x80,\xff\n",
                "encoding: latin-1",
                "ä:string|b:string\nMüller|£\"5\n\u{80}|\u{ff}",
            ),
            reads(
                b"a,b\n\xa0,1\n",
                "encoding: latin-1, null_values: [\"\u{a0}\"], schema: [{name: a, type: int64}]",
                "a:int64|b:int64\n∅|1",
            ),
        ],
    );
}

#[test]
fn null_texts_are_null_where_they_are_not_quoted() {
    check(
        "f.csv",
        &[
            reads(
                "a,b\n\"\",\"\"\nx,1\n,\n",
                "",
                "a:string|b:int64\n|∅\nx|1\n∅|∅",
            ),
            reads(
                "a,b\nNA,NA\n\"NA\",1\n\\N,\\N\nna,3\n,2\n",
                "null_values: [NA, '\\N']",
                "a:string|b:int64\n∅|∅\nNA|1\n∅|∅\nna|3\n|2",
            ),
            reads("a,b\n,x\n", "null_values: []", "a:string|b:string\n|x"),
        ],
    );
}

#[test]
fn a_field_may_be_long() {
    let line = "a line with a \"\"quote\"\", and a comma\r\n";
    let field = line.repeat((1 << 20) / line.len());
    let long = format!("a,b\n1,\"{field}\"\n2,{}\n", "ü".repeat(1 << 19));
    let value = escaped(&field.replace("\"\"", "\""));
    let rows = format!("a:int64|b:string\n1|{value}\n2|{}", "ü".repeat(1 << 19));
    check("f.csv", &[reads(&long, "", &rows)]);
}

/// Within the memory that a job has by default.
#[test]
fn a_record_may_be_wide() {
    let columns = 10_000;
    let names: Vec<String> = (0..columns).map(|column| format!("c{column}")).collect();
    let row = |first: usize| {
        let cells = (first..first + columns).map(|number| number.to_string());
        cells.collect::<Vec<_>>()
    };
    let text = [names.join(","), row(0).join(","), row(7).join(",")].join("\n");
    let types: Vec<String> = names.iter().map(|name| format!("{name}:int64")).collect();
    let expected = [types.join("|"), row(0).join("|"), row(7).join("|")].join("\n");

    let dir = TestDir::new();
    dir.write("f.csv", &text);
    let job = dir.write("wide.yaml", &job_text("wide", "file_path: f.csv", 1));
    let output = cli(&dir, &["run", job.to_str().unwrap(), "--json"]);
    assert_eq!(error(&output), None);
    let found = shown(&tables(&[dir.path().join("out/wide")])[0]);
    assert!(found == expected, "{}", cut(&found));
}

#[test]
fn a_quote_that_never_closes_does_not_fill_the_memory() {
    let text = format!("a,b\n1,2\n3,\"{}", "x\n".repeat(17 << 20));
    check(
        "f.csv",
        &[refuses(
            &text,
            "",
            "`f.csv` line 3: the quote that opens here does not close within 32 MiB",
            "check `quote`",
        )],
    );
}
