//! What the answers of a key service mean that no other service gives. Pure.

use crate::capabilities::failure::{ErrorKind, Failure};

/// What the service was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Generate,
    Decrypt,
}

impl Asked {
    fn action(self) -> &'static str {
        match self {
            Self::Generate => "kms:GenerateDataKey",
            Self::Decrypt => "kms:Decrypt",
        }
    }
}

/// The refusal with `code` and `message`, where it is one of KMS alone. Without `key` the service was to find the key by
/// what stands in the file.
pub fn refusal(
    asked: Asked,
    key: Option<&str>,
    code: &str,
    message: &str,
    request: Option<&str>,
) -> Option<Failure> {
    let named = match key {
        Some(key) => format!("key `{}`", key.escape_debug()),
        None => "the master key of the file".to_owned(),
    };
    let mut said = match message {
        "" => code.to_owned(),
        message => format!("{code}: {message}"),
    };
    said.retain(|c| !c.is_control());
    if let Some(id) = request {
        said.push_str(&format!(" (request {id})"));
    }
    let is_deletion = message.to_ascii_lowercase().contains("deletion");
    let shown = key.unwrap_or("KEY");
    let (kind, what, hint) = match code {
        "DisabledException" => (
            ErrorKind::Rejected,
            "is disabled",
            format!("enable it: `aws kms enable-key --key-id {shown}`"),
        ),
        "KMSInvalidStateException" if is_deletion => (
            ErrorKind::Rejected,
            "is about to be deleted, and with it whatever was sealed under it",
            format!(
                "keep it: `aws kms cancel-key-deletion --key-id {shown}`, then `aws kms enable-key --key-id {shown}`"
            ),
        ),
        "KMSInvalidStateException" => (
            ErrorKind::Rejected,
            "is in a state in which it cannot be used",
            format!("look at its state: `aws kms describe-key --key-id {shown}`"),
        ),
        "NotFoundException" => (
            ErrorKind::NotFound,
            "does not exist there",
            "check its name, the account and the region: AWS_REGION, or `aws: { region: … }` in the job".to_owned(),
        ),
        "InvalidCiphertextException" => (
            ErrorKind::Rejected,
            "does not unwrap the key of the file, which is damaged or was wrapped for someone else",
            "fetch the file again; where that does not help, it was not sealed for what its header says".to_owned(),
        ),
        "IncorrectKeyException" => (
            ErrorKind::Rejected,
            "is not the one that the file was sealed under",
            "name the key that it was sealed under, or none: the service finds its own".to_owned(),
        ),
        "InvalidKeyUsageException" | "UnsupportedOperationException" => (
            ErrorKind::InvalidConfig,
            "makes no data keys",
            "use a symmetric key for encryption (`SYMMETRIC_DEFAULT`, `ENCRYPT_DECRYPT`)".to_owned(),
        ),
        "InvalidArnException" | "ValidationException" => (
            ErrorKind::InvalidConfig,
            "has a name that the service does not take",
            "name it by its id, its ARN or `alias/NAME`".to_owned(),
        ),
        "AccessDeniedException" | "AccessDenied" => (
            ErrorKind::Rejected,
            "may not be used with these credentials",
            format!(
                "allow `{}` in the key's policy and in that of the user or role; a condition on the encryption context must fit too",
                asked.action()
            ),
        ),
        "KeyUnavailableException" | "DependencyTimeoutException" => (
            ErrorKind::Unavailable,
            "is not available now",
            "run again later".to_owned(),
        ),
        _ => return None,
    };
    Some(Failure::new(kind, format!("{named} {what} ({said})")).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_own_text_and_a_next_step() {
        let mut texts = std::collections::HashSet::new();
        for (code, message, kind) in [
            ("DisabledException", "k is disabled.", ErrorKind::Rejected),
            (
                "KMSInvalidStateException",
                "k is pending deletion.",
                ErrorKind::Rejected,
            ),
            (
                "KMSInvalidStateException",
                "k is pending import.",
                ErrorKind::Rejected,
            ),
            ("NotFoundException", "no k", ErrorKind::NotFound),
            ("InvalidCiphertextException", "", ErrorKind::Rejected),
            ("IncorrectKeyException", "", ErrorKind::Rejected),
            ("InvalidKeyUsageException", "", ErrorKind::InvalidConfig),
            ("ValidationException", "", ErrorKind::InvalidConfig),
            ("AccessDeniedException", "", ErrorKind::Rejected),
            ("KeyUnavailableException", "", ErrorKind::Unavailable),
        ] {
            for key in [Some("alias/lake"), None] {
                let failure = refusal(Asked::Decrypt, key, code, message, Some("r1")).unwrap();
                assert_eq!(failure.kind, kind, "{failure}");
                assert!(failure.message.contains("r1"), "{failure}");
                let (what, _) = failure.message.split_once(" (").unwrap();
                assert!(texts.insert(what.to_owned()), "{failure} is not its own");
                assert!(failure.hint.is_some_and(|hint| !hint.is_empty()));
            }
        }
    }

    #[test]
    fn what_other_services_say_too_is_left_to_others() {
        for code in [
            "",
            "ThrottlingException",
            "ExpiredTokenException",
            "UnrecognizedClientException",
        ] {
            assert_eq!(refusal(Asked::Generate, Some("k"), code, "", None), None);
        }
    }

    #[test]
    fn a_refusal_is_one_line() {
        let failure = refusal(
            Asked::Generate,
            Some("a"),
            "DisabledException",
            "a\nb",
            None,
        );
        assert!(!failure.unwrap().message.contains('\n'));
    }
}
