//! Types: what a sample suggests, what a job declares, and values that are not of their type.

use super::{check, reads, refuses};

#[test]
fn a_value_that_breaks_the_sampled_type_is_refused_and_never_null() {
    let sample = "sample_rows: 1";
    let say = "raise `sample_rows`";
    check(
        "f.csv",
        &[
            refuses(
                "id,num\n1,2\n\n2,\"x\ny\"\n",
                sample,
                "`f.csv` line 4, column 2 `num`: `x\\ny` is not an int64",
                "the sample suggested int64; declare the type, `schema: [{name: num, type: string}]`, or raise",
            ),
            refuses(
                "a\n1\n1.5\n",
                sample,
                "`f.csv` line 3, column 1 `a`: `1.5` is not an int64",
                say,
            ),
            refuses(
                "a\n1\n007\n",
                sample,
                "`f.csv` line 3, column 1 `a`: `007` is not an int64",
                say,
            ),
            refuses(
                "a\n1\n9223372036854775808\n",
                sample,
                "`f.csv` line 3, column 1 `a`: `9223372036854775808` is not an int64",
                say,
            ),
            refuses(
                "a\n0.5\n1,5\n",
                "sample_rows: 1, delimiter: ;",
                "`f.csv` line 3, column 1 `a`: `1,5` is not a float64",
                say,
            ),
            refuses(
                "a\n0.5\n1e999\n",
                sample,
                "`f.csv` line 3, column 1 `a`: `1e999` is not a float64",
                say,
            ),
            refuses(
                "a\ntrue\nyes\n",
                sample,
                "`f.csv` line 3, column 1 `a`: `yes` is not a bool",
                say,
            ),
            refuses(
                "a\n2024-02-29\n2023-02-29\n",
                sample,
                "`f.csv` line 3, column 1 `a`: `2023-02-29` is not a date",
                say,
            ),
            refuses(
                "a\n2024-01-31T12:00\n2024-01-31T12:00Z\n",
                sample,
                "`f.csv` line 3, column 1 `a`: `2024-01-31T12:00Z` is not a timestamp",
                say,
            ),
            refuses(
                "a\n2024-01-31T12:00Z\n2024-01-31T12:00\n",
                sample,
                "`f.csv` line 3, column 1 `a`: `2024-01-31T12:00` is not a timestamptz",
                say,
            ),
            refuses(
                "a\n1\nNULL\n",
                sample,
                "`f.csv` line 3, column 1 `a`: `NULL` is not an int64",
                say,
            ),
            refuses(
                "a b\n1\n\"\"\n",
                "sample_rows: 1, null_values: [NA]",
                "`f.csv` line 3, column 1 `a b`: `` is not an int64",
                "{name: \"a b\", type: string}",
            ),
        ],
    );
}

#[test]
fn the_line_of_a_late_value_is_that_of_the_file() {
    let rows = 30_000;
    let mut text = String::from("id,note\r\n");
    for id in 0..rows {
        text.push_str(&format!("{id},\"two\nlines\"\r\n"));
    }
    text.push_str("x30000,\"last\"\r\n");
    let line = 2 + 2 * rows;
    let message = format!("`f.csv` line {line}, column 1 `id`: `x30000` is not an int64");
    check(
        "f.csv",
        &[refuses(&text, "", &message, "raise `sample_rows`")],
    );
}

#[test]
fn a_value_that_breaks_its_declared_type_is_refused() {
    let correct = "correct the file, or declare another type: `schema: [{name: a, type: string}]`";
    let case = |text, kind, message| {
        let config = format!("schema: [{{name: a, type: \"{kind}\"}}]").leak();
        refuses(text, config, message, correct)
    };
    check(
        "f.csv",
        &[
            case(
                "a\n1\n2147483648\n",
                "int32",
                "`f.csv` line 3, column 1 `a`: `2147483648` is not an int32",
            ),
            case(
                "a\n-2147483649\n",
                "int32",
                "`f.csv` line 2, column 1 `a`: `-2147483649` is not an int32",
            ),
            case(
                "a\n1\n-9223372036854775809\n",
                "int64",
                "`f.csv` line 3, column 1 `a`: `-9223372036854775809` is not an int64",
            ),
            case(
                "a\n1.0\n",
                "int64",
                "`f.csv` line 2, column 1 `a`: `1.0` is not an int64",
            ),
            case(
                "a\n1\n 2\n",
                "float64",
                "`f.csv` line 3, column 1 `a`: ` 2` is not a float64",
            ),
            case(
                "a\n1\n",
                "bool",
                "`f.csv` line 2, column 1 `a`: `1` is not a bool",
            ),
            case(
                "a\n31.12.2024\n",
                "date",
                "`f.csv` line 2, column 1 `a`: `31.12.2024` is not a date",
            ),
            case(
                "a\n2024-12-31T25:00\n",
                "timestamp",
                "`f.csv` line 2, column 1 `a`: `2024-12-31T25:00` is not a timestamp",
            ),
            case(
                "a\n2024-12-31T12:00:00.1234567Z\n",
                "timestamptz",
                "`f.csv` line 2, column 1 `a`: `2024-12-31T12:00:00.1234567Z` is not a timestamptz",
            ),
            // Too many digits before the point, too many behind it, and neither.
            case(
                "a\n999.99\n1000.00\n",
                "decimal(5,2)",
                "`f.csv` line 3, column 1 `a`: `1000.00` is not a decimal(5,2)",
            ),
            case(
                "a\n1.005\n",
                "decimal(5,2)",
                "`f.csv` line 2, column 1 `a`: `1.005` is not a decimal(5,2)",
            ),
            case(
                "a\n1.2.3\n",
                "decimal(5,2)",
                "`f.csv` line 2, column 1 `a`: `1.2.3` is not a decimal(5,2)",
            ),
            case(
                "a\n-\n",
                "decimal(5,2)",
                "`f.csv` line 2, column 1 `a`: `-` is not a decimal(5,2)",
            ),
            case(
                "a\n12345678901234567890123456789012345678\n123456789012345678901234567890123456789\n",
                "decimal(38,0)",
                "`f.csv` line 3, column 1 `a`: `123456789012345678901234567890123456789` is not a decimal(38,0)",
            ),
        ],
    );
}

#[test]
fn a_schema_that_does_not_fit_the_file_is_refused() {
    check(
        "f.csv",
        &[
            refuses(
                "a,b\n",
                "schema: [{name: c, type: string}]",
                "`schema` declares `c`, which is no column of `f.csv`",
                "its columns are `a`, `b`",
            ),
            refuses(
                "a,b\n",
                "schema: [{name: a, type: string}, {name: a, type: int64}]",
                "`schema` declares `a` twice",
                "",
            ),
            refuses(
                "1,2\n",
                "header: false, schema: [{name: c, type: string}]",
                "`schema` lists 1 columns; `f.csv` has 2",
                "list all columns in order",
            ),
        ],
    );
}

#[test]
fn every_type_is_inferred() {
    check(
        "f.csv",
        &[
            reads(
                "i,f,b,d,t,z,s,n\n\
                 1,1.5,true,1970-01-02,1970-01-01T00:00:01,1970-01-01 00:00:01Z,x,\n\
                 -2,2,FALSE,1969-12-31,1970-01-01 00:00:00.5,1970-01-01T01:00:00+01:00,y z,\n\
                 ,,,,,,,\n",
                "",
                "i:int64|f:float64|b:bool|d:date|t:timestamp|z:timestamptz|s:string|n:string\n\
                 1|1.5|true|1970-01-02|1970-01-01T00:00:01|1970-01-01T00:00:01+00:00|x|∅\n\
                 -2|2.0|false|1969-12-31|1970-01-01T00:00:00.500000|1970-01-01T00:00:00+00:00|y z|∅\n\
                 ∅|∅|∅|∅|∅|∅|∅|∅",
            ),
            reads(
                "min,max,tiny,zip,big,mixed,day\n\
                 -9223372036854775808,9223372036854775807,5e-324,007,9223372036854775808,1,0001-01-01\n\
                 0,0,-0.0,12,1,x,9999-12-31\n",
                "",
                "min:int64|max:int64|tiny:float64|zip:string|big:string|mixed:string|day:date\n\
                 -9223372036854775808|9223372036854775807|5e-324|007|9223372036854775808|1|0001-01-01\n\
                 0|0|-0.0|12|1|x|9999-12-31",
            ),
        ],
    );
}

#[test]
fn declared_types_win_over_the_sample() {
    check(
        "f.csv",
        &[
            reads(
                "id,zip,n,i\n1,007,1,2147483647\n2,+12,2.5,-2147483648\n",
                "sample_rows: 1, schema: [{name: n, type: float64}, {name: zip, type: int64}, {name: i, type: int32}]",
                "id:int64|zip:int64|n:float64|i:int32\n1|7|1.0|2147483647\n2|12|2.5|-2147483648",
            ),
            reads(
                "a,b,c\n1,-999.99,0.00000000000000000000000000000000000001\n.5,999.99,-0.1\n-0,1.,\n+7.1,00.10,0\n",
                "schema: [{name: a, type: \"decimal(15,2)\"}, {name: b, type: \"decimal(5,2)\"}, {name: c, type: \"decimal(38,38)\"}]",
                "a:decimal(15,2)|b:decimal(5,2)|c:decimal(38,38)\n\
                 1.00|-999.99|1E-38\n\
                 0.50|999.99|-0.10000000000000000000000000000000000000\n\
                 0.00|1.00|∅\n\
                 7.10|0.10|0E-38",
            ),
            reads(
                "a\n99999999999999999999999999999999999999\n-99999999999999999999999999999999999999\n",
                "schema: [{name: a, type: \"decimal(38,0)\"}]",
                "a:decimal(38,0)\n99999999999999999999999999999999999999\n-99999999999999999999999999999999999999",
            ),
            reads(
                "t,z\n2024-01-31,2024-01-31T00:00:00.000001+05:45\n",
                "schema: [{name: t, type: timestamp}, {name: z, type: timestamptz}]",
                "t:timestamp|z:timestamptz\n2024-01-31T00:00:00|2024-01-30T18:15:00.000001+00:00",
            ),
        ],
    );
}
