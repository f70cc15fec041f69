//! Numbers that travel between ranks, bit for bit.

use std::collections::BTreeMap;

use crate::algorithm::LossStats;
use crate::algorithm::audit::TokenAudit;
use crate::reward::Verdict;
use crate::train::learner::Scored;
use crate::train::rollout::{AttentionShares, Rollout};

/// A message that is being written.
#[derive(Debug, Default)]
pub(in crate::train) struct Writer(Vec<u8>);

/// A message that is being read. Everything is `None` where the message is shorter than what is expected.
#[derive(Debug)]
pub(in crate::train) struct Reader<'a>(&'a [u8]);

/// What travels.
pub(in crate::train) trait Wire: Sized {
    /// Appends the value.
    fn write(&self, to: &mut Writer);
    /// Takes the value.
    fn read(from: &mut Reader<'_>) -> Option<Self>;
}

/// A value as a message.
pub(super) fn to_bytes(value: &impl Wire) -> Vec<u8> {
    let mut writer = Writer::default();
    value.write(&mut writer);
    writer.0
}

/// The value of a message; none where it is another one.
pub(super) fn from_bytes<T: Wire>(bytes: &[u8]) -> Option<T> {
    let mut reader = Reader(bytes);
    T::read(&mut reader).filter(|_| reader.0.is_empty())
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Wire for $kind {
            fn write(&self, to: &mut Writer) {
                to.0.extend_from_slice(&self.to_le_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                from.take().map(Self::from_le_bytes)
            }
        }
    )*};
}

number!(u8, u32, u64, f64);

impl Wire for usize {
    fn write(&self, to: &mut Writer) {
        (*self as u64).write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        u64::read(from).map(|value| value as Self)
    }
}

impl Wire for bool {
    fn write(&self, to: &mut Writer) {
        u8::from(*self).write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        u8::read(from).map(|value| value != 0)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, to: &mut Writer) {
        self.len().write(to);
        for value in self {
            value.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let count = usize::read(from)?;
        (0..count).map(|_| T::read(from)).collect()
    }
}

impl Wire for String {
    fn write(&self, to: &mut Writer) {
        self.len().write(to);
        to.0.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let count = usize::read(from)?;
        let (text, rest) = from.0.split_at_checked(count)?;
        from.0 = rest;
        Self::from_utf8(text.to_vec()).ok()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn write(&self, to: &mut Writer) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some((A::read(from)?, B::read(from)?))
    }
}

impl<V: Wire> Wire for BTreeMap<String, V> {
    fn write(&self, to: &mut Writer) {
        self.len().write(to);
        for (key, value) in self {
            key.write(to);
            value.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let count = usize::read(from)?;
        (0..count).map(|_| <(String, V)>::read(from)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn write(&self, to: &mut Writer) {
        self.is_some().write(to);
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        if bool::read(from)? { T::read(from).map(Some) } else { Some(None) }
    }
}

impl Wire for Verdict {
    fn write(&self, to: &mut Writer) {
        let Self { reward, accuracy, parts, terms, extracted } = self;
        reward.write(to);
        accuracy.write(to);
        parts.write(to);
        terms.write(to);
        extracted.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            reward: f64::read(from)?,
            accuracy: Option::read(from)?,
            parts: BTreeMap::read(from)?,
            terms: Vec::read(from)?,
            extracted: Option::read(from)?,
        })
    }
}

impl Wire for TokenAudit {
    fn write(&self, to: &mut Writer) {
        let Self { dependency, reading, predicting, gradient } = self;
        for list in [dependency, reading, predicting, gradient] {
            list.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            dependency: Vec::read(from)?,
            reading: Vec::read(from)?,
            predicting: Vec::read(from)?,
            gradient: Vec::read(from)?,
        })
    }
}

impl Wire for AttentionShares {
    fn write(&self, to: &mut Writer) {
        for share in [self.image, self.query, self.generated] {
            share.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { image: f64::read(from)?, query: f64::read(from)?, generated: f64::read(from)? })
    }
}

impl Wire for Rollout {
    fn write(&self, to: &mut Writer) {
        let Self { tokens, logprobs, cut_off, attention, similarity } = self;
        tokens.write(to);
        logprobs.write(to);
        cut_off.write(to);
        attention.write(to);
        similarity.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            tokens: Vec::read(from)?,
            logprobs: Vec::read(from)?,
            cut_off: bool::read(from)?,
            attention: Vec::read(from)?,
            similarity: Vec::read(from)?,
        })
    }
}

impl Wire for Scored {
    fn write(&self, to: &mut Writer) {
        let Self { logprobs, entropy, similarity, dependency } = self;
        for values in [logprobs, entropy, similarity, dependency] {
            values.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            logprobs: Vec::read(from)?,
            entropy: Vec::read(from)?,
            similarity: Vec::read(from)?,
            dependency: Vec::read(from)?,
        })
    }
}

impl Wire for LossStats {
    fn write(&self, to: &mut Writer) {
        let counts = [self.tokens, self.masked_tokens, self.clipped_low, self.clipped_high, self.dual_clipped];
        for count in counts {
            count.write(to);
        }
        let sums = [self.approx_kl_sum, self.reference_kl_sum, self.perception_kl_sum, self.masked_surprise_sum];
        for sum in sums {
            sum.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            tokens: usize::read(from)?,
            masked_tokens: usize::read(from)?,
            clipped_low: usize::read(from)?,
            clipped_high: usize::read(from)?,
            dual_clipped: usize::read(from)?,
            approx_kl_sum: f64::read(from)?,
            reference_kl_sum: f64::read(from)?,
            perception_kl_sum: f64::read(from)?,
            masked_surprise_sum: f64::read(from)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_arrive_bit_for_bit_and_damage_is_noticed() {
        let rollout = Rollout {
            tokens: vec![1, u32::MAX],
            logprobs: vec![-0.1, f64::NEG_INFINITY],
            cut_off: true,
            attention: vec![AttentionShares { image: 0.1, query: 0.2, generated: -0.0 }],
            similarity: vec![],
        };
        let bytes = to_bytes(&vec![rollout.clone()]);
        let found: Vec<Rollout> = from_bytes(&bytes).unwrap();
        assert_eq!(found[0], rollout);
        assert!(found[0].attention[0].generated.is_sign_negative());
        for end in 0..bytes.len() {
            assert!(from_bytes::<Vec<Rollout>>(&bytes[..end]).is_none());
        }
        assert!(from_bytes::<Vec<Rollout>>(&[&bytes[..], &[0]].concat()).is_none());
        let named = BTreeMap::from([("ä".to_owned(), f64::NAN)]);
        assert!(from_bytes::<BTreeMap<String, f64>>(&to_bytes(&named)).unwrap()["ä"].is_nan());
    }
}
