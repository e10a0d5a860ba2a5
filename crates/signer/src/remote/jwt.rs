//! The tokens of Commit-Boost's signer API 0.2: HS256, one for each request, bound to its route and to the bytes of its body.

use alloy_primitives::{B256, keccak256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::Sha256;
use zeroize::Zeroizing;

/// How long a token is good for, in seconds; the reference client's value.
const LIFETIME: u64 = 300;
const HEADER: &str = r#"{"typ":"JWT","alg":"HS256"}"#;

#[derive(Serialize)]
struct Claims<'a> {
    exp: u64,
    module: &'a str,
    route: &'a str,
    payload_hash: Option<B256>,
}

/// Who we are to the signer: a module's id, and the secret it shares with the signer.
pub(super) struct Credentials {
    pub(super) module: String,
    pub(super) secret: Zeroizing<String>,
}

impl Credentials {
    /// A token issued at `now`, Unix seconds, for one request. `body` is none where the request has no body.
    pub(super) fn token(&self, route: &str, body: Option<&[u8]>, now: u64) -> String {
        let claims = Claims {
            exp: now.saturating_add(LIFETIME),
            module: &self.module,
            route,
            payload_hash: body.map(keccak256),
        };
        let claims = serde_json::to_vec(&claims).unwrap_or_default();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()) else { return signed };
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature is as another implementation of HMAC gives it.
    #[test]
    fn a_token_of_known_secret_route_body_and_time() {
        let credentials =
            Credentials { module: "EARNEST".to_owned(), secret: Zeroizing::new("secret".to_owned()) };
        let token = credentials.token("/signer/v1/request_signature/bls", Some(b"{}"), 1_700_000_000);
        let parts: Vec<&str> = token.split('.').collect();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(
            claims,
            r#"{"exp":1700000300,"module":"EARNEST","route":"/signer/v1/request_signature/bls","payload_hash":"0x"#
                .to_owned()
                + "b48d38f93eaa084033fc5970bf96e559c33c4cdc07d889ab00b4d63f9590739d\"}"
        );
        let bare = credentials.token("/signer/v1/get_pubkeys", None, 0);
        let claims = URL_SAFE_NO_PAD.decode(bare.split('.').nth(1).unwrap()).unwrap();
        assert!(String::from_utf8(claims).unwrap().ends_with(r#""payload_hash":null}"#));
        assert_eq!(parts[2], SIGNATURE);
    }

    const SIGNATURE: &str = "netlE7eqJ8G0cAk6kk-PSpeOjFm5XrTh8zHapNshY5M";
}
