//! The Engine API's authentication: HS256 tokens whose only claim is their time of issue.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use alloy_primitives::{B256, hex};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The secret that a client and its driver share.
#[derive(Clone)]
pub struct JwtSecret(B256);

impl JwtSecret {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(B256::random())
    }

    /// As the client's file holds it.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// A token issued now.
    pub(crate) fn token(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.token_at(now.as_secs())
    }

    fn token_at(&self, seconds: u64) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"HS256"}"#);
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"iat":{seconds}}}"#));
        let signed = format!("{header}.{claims}");
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_slice()) else { return signed };
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature is as another implementation of HMAC gives it.
    #[test]
    fn a_token_of_known_secret_and_time() {
        let secret = JwtSecret(B256::repeat_byte(0x73));
        assert_eq!(secret.token_at(1_516_239_022), TOKEN);
        assert_eq!(format!("{secret:?}"), "JwtSecret(..)");
    }

    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpYXQiOjE1MTYyMzkwMjJ9.WFMU1XxjbV-whhxHJQ3lRhdaZNpoOAJtDW2xzcKPdY0";
}
