//! Grants for HTTP: which requests a guest may send.
//!
//! Pure: no network, no wasmtime. A rule is `METHODS URL [private]`, such as `GET,POST https://api.example/v1/*`. A query is
//! no part of a rule. Placeholders of secrets stand for themselves, in a rule as in a request.

use url::{Host, Url};

use super::path::{self, Pattern};
use crate::capabilities::failure::{ErrorKind, Failure};
use crate::error::{Error, Kind};

/// What a placeholder of a secret begins with.
const PLACEHOLDER: &str = "dativo-secret-";

/// What a job grants. Without rules it covers nothing.
#[derive(Debug, Clone, Default)]
pub struct Grant(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    /// Empty for every method.
    methods: Vec<String>,
    scheme: String,
    host: HostRule,
    port: Option<u16>,
    path: Pattern,
    is_private: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostRule {
    Exact(String),
    /// `.example`: every name that ends so.
    Below(String),
}

/// Where a granted request may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reach {
    /// Whether the name may lead to a private address.
    pub is_private: bool,
}

/// Why a request is not covered, the best fit last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The job grants no request.
    Empty,
    /// A user, a password or a placeholder stands before the path.
    Credentials,
    /// A path that servers read in more than one way.
    Ambiguous,
    Host,
    Scheme,
    Port,
    Path,
    Method,
}

impl Grant {
    pub fn parse<'a>(rules: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        rules.map(Rule::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this grant covers a request. `url` has placeholders where secrets are to be filled in.
    pub fn allows(&self, method: &str, url: &Url) -> Result<Reach, Denied> {
        if !url.username().is_empty()
            || url.password().is_some()
            || url
                .host_str()
                .is_some_and(|host| host.contains(PLACEHOLDER))
        {
            return Err(Denied::Credentials);
        }
        if path::is_ambiguous(url.path()) {
            return Err(Denied::Ambiguous);
        }
        let mut denied = Denied::Empty;
        let mut reach = None;
        for rule in &self.0 {
            match rule.covers(method, url) {
                Ok(()) => {
                    let is_private =
                        rule.is_private || reach.is_some_and(|reach: Reach| reach.is_private);
                    reach = Some(Reach { is_private });
                }
                // The rule that fits best says why.
                Err(why) => denied = denied.max(why),
            }
        }
        reach.ok_or(denied)
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Self, Error> {
        let refuse = |why: &str, hint: &str| {
            Error::new(Kind::JobInvalid, format!("a grant of `http` {why}")).hint(hint.to_owned())
        };
        const EXAMPLE: &str = "write a grant like `GET https://api.example/v1/*`";
        let words: Vec<&str> = line.split_whitespace().collect();
        let (methods, address, is_private) = match words.as_slice() {
            [methods, address] => (*methods, *address, false),
            [methods, address, "private"] => (*methods, *address, true),
            _ => {
                return Err(refuse(
                    "is not `METHODS URL` or `METHODS URL private`",
                    EXAMPLE,
                ));
            }
        };
        let is_method = |method: &&str| {
            !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase())
        };
        let listed: Vec<&str> = match methods {
            "*" => Vec::new(),
            _ => methods.split(',').collect(),
        };
        if !listed.iter().all(is_method) {
            return Err(refuse(
                "has methods that are not a list in capitals, or `*`",
                EXAMPLE,
            ));
        }
        let (scheme, rest) = address.split_once("://").unwrap_or_default();
        if !["http", "https"].contains(&scheme) {
            return Err(refuse(
                "has a URL that is neither `http` nor `https`",
                EXAMPLE,
            ));
        }
        let (is_below, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let unreadable = |error: url::ParseError| {
            refuse("has a URL that cannot be read", EXAMPLE).caused_by(error)
        };
        let url = Url::parse(&format!("{scheme}://{rest}")).map_err(unreadable)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse(
                "has a user or password in its URL",
                "use `auth` for credentials, and leave them out of the URL",
            ));
        }
        if url.fragment().is_some() {
            return Err(refuse(
                "has a fragment, which is never sent",
                "leave out `#` and what follows; credentials go into `auth`",
            ));
        }
        let name = host(&url);
        if name.contains(['*', '{', '%']) || name.contains(PLACEHOLDER) {
            return Err(refuse(
                "has a host with more than a leading `*.` that stands for others",
                "write the host as it is, or `*.example.com` for all below it",
            ));
        }
        let is_ip = matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)));
        if is_below && is_ip {
            return Err(refuse("has `*.` before an IP address", EXAMPLE));
        }
        let path = Pattern::parse(url.path()).map_err(|why| refuse(why, EXAMPLE))?;
        Ok(Self {
            methods: listed.into_iter().map(str::to_owned).collect(),
            scheme: scheme.to_owned(),
            // Who names an address or this machine means it.
            is_private: is_private || is_ip,
            host: match is_below {
                true => HostRule::Below(format!(".{name}")),
                false => HostRule::Exact(name),
            },
            port: url.port_or_known_default(),
            path,
        })
    }

    fn covers(&self, method: &str, url: &Url) -> Result<(), Denied> {
        let name = host(url);
        let is_host = match &self.host {
            HostRule::Exact(exact) => *exact == name,
            HostRule::Below(suffix) => name
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| !rest.is_empty()),
        };
        if !is_host {
            Err(Denied::Host)
        } else if self.scheme != url.scheme() {
            Err(Denied::Scheme)
        } else if self.port != url.port_or_known_default() {
            Err(Denied::Port)
        } else if !self.path.matches(url.path()) {
            Err(Denied::Path)
        } else if !self.methods.is_empty() && !self.methods.iter().any(|own| own == method) {
            Err(Denied::Method)
        } else {
            Ok(())
        }
    }
}

/// In lower case, as `url` made it, without a trailing dot.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    host.strip_suffix('.').unwrap_or(host).to_owned()
}

impl Denied {
    /// What the guest is told. The query is not shown: it may carry keys.
    pub fn failure(self, method: &str, url: &Url) -> Failure {
        let shown = bare(url);
        let why = match self {
            Self::Empty => "the job grants no request",
            Self::Credentials => "a user, password or secret stands before its path",
            Self::Ambiguous => "servers read its path in more than one way",
            Self::Host => "no rule has this host",
            Self::Scheme => "no rule has this host with this scheme",
            Self::Port => "no rule has this host with this port",
            Self::Path => "no rule of this host has this path",
            Self::Method => "no rule of this path has this method",
        };
        let hint = match self {
            Self::Credentials => {
                "use `auth` for credentials, and leave them out of the URL".to_owned()
            }
            Self::Ambiguous => "leave `.`, `..` and encoded slashes out of the path".to_owned(),
            _ => format!("add `http: [\"{method} {shown}\"]` under `grants`"),
        };
        Failure::new(
            ErrorKind::Denied,
            format!("`{method} {shown}` is outside the grant: {why}"),
        )
        .hint(hint)
    }
}

/// Origin and path of a URL, for messages.
pub fn bare(url: &Url) -> String {
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// A rule as a plan prints it: without the query, which may carry keys.
pub fn shown(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let word = word.split(['?', '#']).next().unwrap_or_default();
        match word.split_once("://") {
            // A rule with credentials is refused later, and may be printed before.
            Some((scheme, rest)) => match rest.rsplit_once('@') {
                Some((_, rest)) => format!("{scheme}://{rest}"),
                None => word.to_owned(),
            },
            None => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rules: &[&str], method: &str, url: &str) -> Result<bool, Denied> {
        let grant = Grant::parse(rules.iter().copied()).unwrap();
        let reach = grant.allows(method, &Url::parse(url).unwrap());
        reach.map(|reach| reach.is_private)
    }

    fn check(rule: &str, asked: &str, expected: Result<(), Denied>) {
        let (method, url) = asked.split_once(' ').unwrap();
        let rules: Vec<&str> = Some(rule)
            .into_iter()
            .filter(|rule| !rule.is_empty())
            .collect();
        let verdict = allows(&rules, method, url).map(|_| ());
        assert_eq!(verdict, expected, "{rule} / {asked}");
    }

    #[test]
    fn denies_what_no_rule_names() {
        const RULE: &str = "GET https://api.example/v1/*";
        check("", "GET https://api.example/v1/x", Err(Denied::Empty));
        check(RULE, "GET https://evil.example/v1/x", Err(Denied::Host));
        check(RULE, "GET https://api.example.evil/v1/x", Err(Denied::Host));
        check(RULE, "GET http://api.example/v1/x", Err(Denied::Scheme));
        check(RULE, "GET https://api.example:8443/v1/x", Err(Denied::Port));
        check(RULE, "GET https://api.example/v2/x", Err(Denied::Path));
        check(RULE, "GET https://api.example/v10", Err(Denied::Path));
        check(RULE, "GET https://api.example/v1/../v2", Err(Denied::Path));
        check(
            RULE,
            "GET https://api.example/v1/%2e%2e/v2",
            Err(Denied::Path),
        );
        check(
            RULE,
            "GET https://api.example/v1\\..\\v2",
            Err(Denied::Path),
        );
        check(RULE, "POST https://api.example/v1/x", Err(Denied::Method));
        check(RULE, "get https://api.example/v1/x", Err(Denied::Method));
        check(
            RULE,
            "GET https://u@api.example/v1/x",
            Err(Denied::Credentials),
        );
        check(
            RULE,
            "GET https://:p@api.example/v1/x",
            Err(Denied::Credentials),
        );
        check(
            RULE,
            "GET https://api.example@evil.example/v1/x",
            Err(Denied::Credentials),
        );
        for path in [
            "..%2fadmin",
            "%2e%2e%2fadmin",
            "..%5Cadmin",
            "%252e%252e/admin",
            "a%2F..%2Fb",
            "..;/admin",
            ".%2f",
        ] {
            let asked = format!("GET https://api.example/v1/{path}");
            check(RULE, &asked, Err(Denied::Ambiguous));
        }
        check(
            "* https://*.example/*",
            "GET https://dativo-secret-0.example/",
            Err(Denied::Credentials),
        );
    }

    #[test]
    fn allows_what_a_rule_names() {
        const RULE: &str = "GET,HEAD https://api.example/v1/*";
        for asked in [
            "GET https://api.example/v1/x",
            "HEAD https://api.example/v1/x/y?key=dativo-secret-0",
            "GET https://api.example/v1",
            "GET https://api.example/v1/",
            "GET https://api.example:443/v1/x",
            "GET HTTPS://API.Example./v1/x?a=b/../c#d",
            "GET https://api.example/v1/a%2Fb",
            "GET https://api.example/v1/dativo-secret-0/x",
            "GET https://api.example/v1/v1.0/..x",
        ] {
            check(RULE, asked, Ok(()));
        }
        check("* http://h:81/*", "PATCH http://h:81/", Ok(()));
        check("GET https://h", "GET https://h/", Ok(()));
        check("GET https://h?key=1", "GET https://h/?other=2", Ok(()));
        check("GET https://h/a", "GET https://h/a/", Err(Denied::Path));
        check(
            "GET https://bücher.example/",
            "GET https://xn--bcher-kva.example/",
            Ok(()),
        );
    }

    #[test]
    fn a_star_stands_for_names_below() {
        const RULE: &str = "GET https://*.example/*";
        check(RULE, "GET https://a.example/", Ok(()));
        check(RULE, "GET https://a.b.example/", Ok(()));
        check(RULE, "GET https://example/", Err(Denied::Host));
        check(RULE, "GET https://.example/", Err(Denied::Host));
        check(RULE, "GET https://badexample/", Err(Denied::Host));
    }

    #[test]
    fn refuses_rules_that_say_too_much_or_nothing() {
        for (rule, why) in [
            ("https://h/", "is not `METHODS URL`"),
            ("GET https://h/ public", "is not `METHODS URL`"),
            ("get https://h/", "not a list in capitals"),
            ("GET, https://h/", "not a list in capitals"),
            ("GET ftp://h/", "neither `http` nor `https`"),
            ("GET h/x", "neither `http` nor `https`"),
            ("GET https://", "cannot be read"),
            ("GET https://*/", "more than a leading"),
            ("GET https://a.*.example/", "more than a leading"),
            ("GET https://{host}/", "more than a leading"),
            ("GET https://dativo-secret-0/", "more than a leading"),
            ("GET https://*.127.0.0.1/", "before an IP address"),
            ("GET https://u:p@h/", "user or password"),
            ("GET https://h/#x", "fragment"),
            ("GET https://h/a*", "`*` that is not"),
            ("GET https://h/*/a", "`*` that is not"),
        ] {
            let error = Grant::parse([rule].into_iter()).unwrap_err().to_string();
            assert!(error.contains(why), "{rule}: {error}");
        }
    }

    #[test]
    fn only_the_word_or_an_address_grants_private_machines() {
        assert_eq!(allows(&["GET https://h/"], "GET", "https://h/"), Ok(false));
        assert_eq!(
            allows(&["GET https://h/ private"], "GET", "https://h/"),
            Ok(true)
        );
        assert_eq!(
            allows(&["GET http://10.0.0.1/"], "GET", "http://10.0.0.1/"),
            Ok(true)
        );
        assert_eq!(
            allows(&["GET http://[fd00::1]/"], "GET", "http://[fd00::1]/"),
            Ok(true)
        );
        let both = ["GET https://h/", "GET https://h/* private"];
        assert_eq!(allows(&both, "GET", "https://h/"), Ok(true));
        // An address written in another way is the same address.
        assert_eq!(
            allows(&["GET http://10.0.0.1/"], "GET", "http://0xa.1/"),
            Ok(true)
        );
    }

    #[test]
    fn what_is_denied_is_shown_without_its_query() {
        let url = Url::parse("https://h:81/a?key=value").unwrap();
        let failure = Denied::Path.failure("GET", &url);
        assert!(!failure.message.contains("value"), "{failure}");
        assert_eq!(
            failure.hint.as_deref(),
            Some("add `http: [\"GET https://h:81/a\"]` under `grants`")
        );
        assert_eq!(
            shown("GET  https://u:p@h/a?key=value private"),
            "GET https://h/a private"
        );
    }
}
