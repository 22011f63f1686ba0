//! Grants for tables and catalogs.
//!
//! Pure. A rule is `write WAREHOUSE NAMESPACE.TABLE` or `catalog URI`, each exactly as the target names it. A table is covered
//! where it, its warehouse and what its catalog reaches are.

use super::catalog::CatalogSpec;
use super::target::Target;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::error::{Error, Kind};
use crate::job::Secrets;

/// What a job grants. Without rules it covers nothing.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// Warehouse and name.
    tables: Vec<(String, String)>,
    catalogs: Vec<String>,
}

impl Grant {
    pub fn parse<'a>(
        lines: impl Iterator<Item = &'a str>,
        secrets: &Secrets,
    ) -> Result<Self, Error> {
        let mut grant = Self::default();
        for line in lines {
            if let Some(table) = line.strip_prefix("write ") {
                // Both stand in messages, reports and metadata, where no secret may.
                if secrets.mask(table) != table {
                    let shown = secrets.mask(table);
                    let message = format!("the table in `{shown}` holds a secret");
                    return Err(Error::new(Kind::JobInvalid, message).hint(
                        "write warehouse, namespace and table as they are; they appear in reports",
                    ));
                }
                let named = table.rsplit_once(' ');
                let (warehouse, name) = named.ok_or_else(|| refuse("names no table"))?;
                if warehouse.trim().is_empty() || !name.contains('.') {
                    return Err(refuse("names no table"));
                }
                grant.tables.push((normal(warehouse), name.to_owned()));
            } else if let Some(uri) = line.strip_prefix("catalog ") {
                grant.catalogs.push(uri.trim().to_owned());
            } else {
                return Err(refuse("begins neither with `write` nor with `catalog`"));
            }
        }
        Ok(grant)
    }

    /// Fails as denied where the target is not covered.
    pub fn check(&self, target: &Target) -> Result<()> {
        let (warehouse, name) = (normal(&target.warehouse), target.name().to_string());
        let is_granted = |(root, table): &(String, String)| *root == warehouse && *table == name;
        if !self.tables.iter().any(is_granted) {
            let shown = format!("write {warehouse} {name}");
            return Err(denied(format!("table `{name}` in `{warehouse}`"), &shown));
        }
        let Some(catalog) = &target.catalog else {
            return Ok(());
        };
        for uri in addresses(catalog) {
            if !self.catalogs.iter().any(|granted| granted == uri) {
                let shown = shown(&format!("catalog {uri}"));
                return Err(denied("the catalog".to_owned(), &shown));
            }
        }
        Ok(())
    }
}

/// What a catalog is reached at, as it is written.
fn addresses(catalog: &CatalogSpec) -> Vec<&str> {
    match catalog {
        CatalogSpec::Sql { uri, .. } => vec![uri],
        CatalogSpec::Rest {
            uri,
            oauth2_server_uri,
            ..
        } => {
            let elsewhere = oauth2_server_uri.as_deref();
            let elsewhere = elsewhere.filter(|address| address.contains("://"));
            [uri.as_str()].into_iter().chain(elsewhere).collect()
        }
    }
}

/// `s3://lake/` and `s3://lake` are one place.
fn normal(warehouse: &str) -> String {
    warehouse.trim_end_matches('/').to_owned()
}

fn denied(what: String, rule: &str) -> Failure {
    Failure::new(ErrorKind::Denied, format!("{what} is outside the grant"))
        .hint(format!("add `grants: {{ iceberg: [\"{rule}\"] }}`"))
}

fn refuse(why: &str) -> Error {
    Error::new(Kind::JobInvalid, format!("a grant of `iceberg` {why}"))
        .hint("write `write s3://lake/acme sales.orders` or `catalog https://catalog.example`")
}

/// A rule as a plan prints it: without user and password.
pub fn shown(line: &str) -> String {
    let Some((scheme, rest)) = line.split_once("://") else {
        return line.to_owned();
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn target(catalog: Value) -> Target {
        let target = json!({ "warehouse": "s3://lake/acme/", "namespace": "sales", "table": "orders", "catalog": catalog });
        Target::parse(&target.to_string()).unwrap()
    }

    fn check(rules: &[&str], catalog: Value, expected: Result<(), &str>) {
        let grant = Grant::parse(rules.iter().copied(), &Secrets::default()).unwrap();
        match (grant.check(&target(catalog)), expected) {
            (Ok(()), Ok(())) => {}
            (Err(failure), Err(part)) => {
                assert_eq!(failure.kind, ErrorKind::Denied);
                let text = format!("{failure} {}", failure.hint.as_deref().unwrap_or_default());
                assert!(text.contains(part), "{text}");
                assert!(!text.contains("hunter2"), "{text}");
            }
            (found, expected) => panic!("{rules:?}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn denies_tables_and_catalogs_that_no_rule_names() {
        let table = "write s3://lake/acme sales.orders";
        let rest = json!({ "type": "rest", "uri": "https://c.example" });
        check(&[], Value::Null, Err("write s3://lake/acme sales.orders"));
        check(&["write s3://lake sales.orders"], Value::Null, Err("table"));
        check(
            &["write s3://lake/acme sales.order"],
            Value::Null,
            Err("table"),
        );
        check(&[table], rest.clone(), Err("catalog https://c.example"));
        check(&[table, "catalog https://c.exampl"], rest, Err("catalog"));
        let elsewhere = json!({ "type": "rest", "uri": "https://c.example", "oauth2_server_uri": "https://evil.example/t" });
        check(
            &[table, "catalog https://c.example"],
            elsewhere,
            Err("https://evil.example/t"),
        );
        let secret = json!({ "type": "sql", "uri": "postgresql://u:hunter2@db/c" });
        check(&[table], secret, Err("catalog postgresql://db/c"));
    }

    #[test]
    fn allows_what_the_rules_name() {
        let table = "write s3://lake/acme/ sales.orders";
        check(&[table], Value::Null, Ok(()));
        let rest = json!({ "type": "rest", "uri": "https://c.example", "oauth2_server_uri": "v1/oauth/tokens" });
        check(&[table, "catalog https://c.example"], rest, Ok(()));
    }

    #[test]
    fn refuses_rules_that_name_nothing() {
        for rule in [
            "",
            "write",
            "write s3://lake",
            "write  a.b",
            "write s3://lake orders",
            "read s3://lake a.b",
        ] {
            assert!(
                Grant::parse([rule].into_iter(), &Secrets::default()).is_err(),
                "{rule}"
            );
        }
        assert_eq!(
            shown("catalog postgresql://u:p@db:5432/c?x=p"),
            "catalog postgresql://db:5432/c"
        );
        assert_eq!(shown("write s3://lake a.b"), "write s3://lake a.b");
    }
}
