//! What each rollup of a winning bid is paid.

use crate::Wei;
use alloy_primitives::U256;

/// Splits `wei` by `worths`: floor(wei · worth / Σ worths) each, in equal parts if all are zero; what is left over goes to
/// the first. `wei` and each of at most 16 worths are at most [`MAX_WEI`](super::MAX_WEI); the parts sum to `wei`.
pub(super) fn split(wei: u128, worths: &[u128]) -> Vec<Wei> {
    let wei = U256::from(wei);
    let equal = worths.iter().all(|worth| *worth == 0);
    let worths: Vec<U256> = worths.iter().map(|worth| U256::from(if equal { 1 } else { *worth })).collect();
    let sum = worths.iter().fold(U256::ZERO, |sum, worth| sum.saturating_add(*worth));
    let mut parts: Vec<U256> =
        worths.iter().map(|worth| wei.saturating_mul(*worth).checked_div(sum).unwrap_or_default()).collect();
    let paid = parts.iter().fold(U256::ZERO, |paid, part| paid.saturating_add(*part));
    if let Some(first) = parts.first_mut() {
        *first = first.saturating_add(wei.saturating_sub(paid));
    }
    parts.into_iter().map(Wei).collect()
}
