//! Reading what callers show.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The credential in an `Authorization` header: a bearer token, or the password of `Basic`
/// (RFC 7617), for clients that know nothing else. None: in no form that is known here.
pub fn bearer(header: &str) -> Option<String> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_string()).filter(|t| !t.is_empty());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        return password(&decoded(rest)?);
    }
    None
}

/// The credential in Milvus' `authorization` metadata: base64 of a token, or of `user:password`,
/// whose password is the credential. REST v2 sends the same as a bearer token without base64.
pub fn milvus(header: &str) -> Option<String> {
    if let Some(token) = bearer(header) {
        return Some(password(&token).unwrap_or(token));
    }
    let text = decoded(header.trim())?;
    password(&text).or(Some(text)).filter(|t| !t.is_empty())
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

fn password(text: &str) -> Option<String> {
    let (_, password) = text.split_once(':')?;
    Some(password.to_string()).filter(|p| !p.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_every_form_that_clients_send() {
        let basic = STANDARD.encode("any:sf_1");
        for (header, key) in [
            ("Bearer sf_1", Some("sf_1")),
            ("bearer  sf_1 ", Some("sf_1")),
            (&format!("Basic {basic}"), Some("sf_1")),
            ("Bearer ", None),
            ("sf_1", None),
            ("Basic !", None),
            ("Digest x", None),
        ] {
            assert_eq!(bearer(header).as_deref(), key, "{header}");
        }
        for (header, key) in [
            (basic.as_str(), Some("sf_1")),
            (&STANDARD.encode("sf_1"), Some("sf_1")),
            ("Bearer root:sf_1", Some("sf_1")),
            ("Bearer sf_1", Some("sf_1")),
            ("", None),
            ("%", None),
        ] {
            assert_eq!(milvus(header).as_deref(), key, "{header}");
        }
    }
}
