//! Credentials that the host adds to a request, with their secrets filled in.

use url::Url;

use super::oauth::Credentials;
use super::{fill, invalid};
use crate::capabilities::failure::Result;
use crate::capabilities::http::Access;
use crate::capabilities::http::request::check_header;
use crate::job::Place;

/// As a guest asks for it: every text may hold placeholders.
#[derive(Debug, Clone)]
pub enum Auth {
    Bearer(String),
    Header(String, String),
    Query(String, String),
    Basic(String, String),
    ClientCredentials(ClientCredentials),
}

/// Client credentials of OAuth 2.0, RFC 6749, section 4.4.
#[derive(Debug, Clone)]
pub struct ClientCredentials {
    pub token_url: String,
    pub client_id: String,
    pub client_secret: String,
    pub scope: Option<String>,
    pub parameters: Vec<(String, String)>,
    pub is_in_body: bool,
}

/// Ready to be added.
pub enum Filled {
    Header(String, Vec<u8>),
    Query(String, String),
    Token(Credentials),
}

impl Filled {
    pub fn new(access: &Access, auth: Auth) -> Result<Self> {
        match auth {
            Auth::Bearer(token) => header(access, "authorization", &format!("Bearer {token}")),
            Auth::Header(name, value) => header(access, &name, &value),
            Auth::Query(name, value) if !name.is_empty() => {
                Ok(Self::Query(text(access, &name)?, text(access, &value)?))
            }
            Auth::Query(..) => Err(invalid("the query parameter of `auth` has no name")),
            Auth::Basic(user, password) => {
                if user.contains(':') {
                    return Err(invalid(
                        "the user of `auth` has a `:`, which ends a user here",
                    ));
                }
                let (user, password) = (text(access, &user)?, text(access, &password)?);
                let encoded = basic(access, &user, &password)?;
                Ok(Self::Header(
                    "authorization".to_owned(),
                    encoded.into_bytes(),
                ))
            }
            Auth::ClientCredentials(wanted) => Credentials::new(access, wanted).map(Self::Token),
        }
    }
}

fn header(access: &Access, name: &str, value: &str) -> Result<Filled> {
    check_header(name, value)?;
    let value = fill(access, value.as_bytes(), Place::Header)?;
    Ok(Filled::Header(name.to_ascii_lowercase(), value))
}

/// A text with its secrets as they are.
pub fn text(access: &Access, text: &str) -> Result<String> {
    let filled = fill(access, text.as_bytes(), Place::Raw)?;
    String::from_utf8(filled).map_err(|_| invalid("a text of `auth` is not UTF-8"))
}

/// The value of `Authorization`, which is concealed from now on.
pub fn basic(access: &Access, user: &str, password: &str) -> Result<String> {
    let encoded = base64(format!("{user}:{password}").as_bytes());
    access.concealer.add(&encoded)?;
    Ok(format!("Basic {encoded}"))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at > three.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    text
}

/// Puts a parameter into the query in place of others of its name.
pub fn set_query(url: &mut Url, name: &str, value: &str) {
    let is_other = |pair: &&str| {
        let parsed = url::form_urlencoded::parse(pair.as_bytes()).next();
        parsed.is_none_or(|(own, _)| own != name)
    };
    let mut pairs: Vec<String> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter(is_other)
        .map(str::to_owned)
        .collect();
    let mut own = url::form_urlencoded::Serializer::new(String::new());
    pairs.push(own.append_pair(name, value).finish().replace('+', "%20"));
    url.set_query(Some(&pairs.join("&")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn a_parameter_takes_the_place_of_a_guests_own() {
        let check = |url: &str, expected: &str| {
            let mut url = Url::parse(url).unwrap();
            set_query(&mut url, "api_key", "a b&c+d");
            assert_eq!(url.as_str(), expected);
        };
        check("http://h/", "http://h/?api_key=a%20b%26c%2Bd");
        check(
            "http://h/?x=1%202",
            "http://h/?x=1%202&api_key=a%20b%26c%2Bd",
        );
        check(
            "http://h/?api_key=1&x&api%5Fkey=2",
            "http://h/?x&api_key=a%20b%26c%2Bd",
        );
    }
}
