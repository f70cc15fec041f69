//! Secrets of keys, sessions and streams: made here, and compared here.
//!
//! Every secret has 256 bits from the operating system, so a plain SHA-256 is kept of it: slow, salted hashes protect
//! passwords that people choose and attackers can guess; 2^256 values cannot be guessed, and a slow hash would delay
//! every request.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock;
use crate::service::{Result, ServiceError};

/// How every key begins: people and scanners of source code know it by that.
const MARK: &str = "vgpo_";
/// Hexadecimal digits of a key's public part.
const PREFIX: usize = 12;

/// A secret in plain text. It is given away once and then forgotten.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Masks the secret in logs.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Secret {
    /// A new key's secret, `vgpo_{public part}_{secret part}`.
    pub fn of_key() -> Result<Self> {
        let (public, hidden) = (random()?, random()?);
        Ok(Self(format!("{MARK}{}_{hidden}", &public[..PREFIX])))
    }

    /// A new secret of a session or a stream.
    pub fn of_ticket() -> Result<Self> {
        Ok(Self(random()?))
    }

    /// The text, for its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its public part, by which a key is found.
    pub fn prefix(&self) -> &str {
        prefix(&self.0).unwrap_or_default()
    }
}

fn random() -> Result<String> {
    let bits = clock::secret_bits()
        .map_err(|error| ServiceError::Internal(format!("no random numbers available: {error}")))?;
    Ok(hex::encode(bits))
}

/// The public part of what claims to be a key's secret.
pub fn prefix(secret: &str) -> Option<&str> {
    let (prefix, rest) = secret.strip_prefix(MARK)?.split_once('_')?;
    (prefix.len() == PREFIX && !rest.is_empty()).then_some(prefix)
}

/// What is kept of a secret.
pub fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// Does the secret match the hash `expected`? The comparison takes constant time.
pub fn matches(secret: &str, expected: &str) -> bool {
    hash(secret).as_bytes().ct_eq(expected.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_never_the_same() {
        let (one, two) = (Secret::of_key().unwrap(), Secret::of_key().unwrap());
        assert_ne!(one, two);
        assert_ne!(one.prefix(), two.prefix());
        assert_eq!(one.reveal().len(), 5 + 12 + 1 + 64);
        assert_eq!(format!("{one:?}"), "Secret(***)");
    }

    #[test]
    fn only_the_whole_secret_matches() {
        let secret = Secret::of_key().unwrap();
        let kept = hash(secret.reveal());
        assert!(matches(secret.reveal(), &kept));
        let text = secret.reveal();
        for wrong in ["", "vgpo_", &text[..text.len() - 1], &format!("{text}0"), &text.replace("vgpo_", "vgpo-")] {
            assert!(!matches(wrong, &kept), "{wrong}");
        }
        // The hash itself opens nothing.
        assert!(!matches(&kept, &kept));
    }

    #[test]
    fn what_is_no_key_has_no_prefix() {
        for text in ["", "vgpo_", "vgpo_abc_def", "vgpo_0123456789ab_", "sk-0123456789ab_cd", "vgpo_0123456789ab"] {
            assert_eq!(prefix(text), None, "{text}");
        }
        assert_eq!(prefix("vgpo_0123456789ab_cd"), Some("0123456789ab"));
    }
}
