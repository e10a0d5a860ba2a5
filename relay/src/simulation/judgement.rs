//! What an endpoint's error says: that the block does not hold, or that the endpoint could not tell. Pure.

/// Invalid parameters. Reth says so of a block that does not hold, and as any server of a call that it cannot read.
const INVALID_PARAMS: i64 = -32602;

/// Server errors, which geth and others say of a block that does not hold.
const SERVER_ERRORS: std::ops::RangeInclusive<i64> = -32099..=-32000;

/// Server errors that have a meaning of their own (EIP-1474 and providers of nodes): not found, unavailable, not
/// supported, limits of requests.
const OF_THE_ENDPOINT: [i64; 9] = [-32001, -32002, -32004, -32005, -32006, -32007, -32029, -32097, -32098];

/// Said by an endpoint that has not the state of the parent: it is behind, or on another fork of the chain.
const NO_PARENT: [&str; 10] = [
    "unknown ancestor",
    "unknown parent",
    "missing parent",
    "missing trie node",
    "parent not found",
    "parent block not found",
    "parent header not found",
    "header not found",
    "block not found",
    "state not available",
];

/// Said of a lack of time, room or support.
const UNABLE: [&str; 8] = [
    "rate limit",
    "too many requests",
    "timeout",
    "timed out",
    "deadline exceeded",
    "context canceled",
    "syncing",
    "method not supported",
];

/// How servers begin that cannot read the parameters.
const UNREADABLE: [&str; 6] = [
    "invalid params",
    "invalid argument",
    "invalid parameter",
    "missing value",
    "too many arguments",
    "missing field",
];

/// Whether the error is a judgement of the block, rather than a failure of the endpoint.
pub(super) fn is_of_the_block(code: i64, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    let judges = match code {
        INVALID_PARAMS => !UNREADABLE.iter().any(|start| message.starts_with(start)),
        code => SERVER_ERRORS.contains(&code) && !OF_THE_ENDPOINT.contains(&code),
    };
    judges && !says(&NO_PARENT) && !says(&UNABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_by_table() {
        let cases = [
            (-32000, "payment is short", true),
            (-32000, "inaccurate payment 1, expected 2", true),
            (-32000, "block gas limit exceeded", true),
            (-32003, "transaction rejected", true),
            (-32602, "block hash mismatch: got 0x01, expected 0x02", true),
            (-32602, "could not verify proposer payment", true),
            (-32602, "Invalid params", false),
            (-32602, "invalid argument 0: json: cannot unmarshal", false),
            (-32601, "the method does not exist", false),
            (-32600, "no batches", false),
            (-32603, "internal error", false),
            (-32700, "parse error", false),
            (-32005, "daily request count exceeded", false),
            (-32029, "slow down", false),
            (-32000, "unknown ancestor", false),
            (-32000, "Unknown Ancestor 0x0102", false),
            (-32000, "parent not found", false),
            (-32000, "header not found", false),
            (-32000, "missing parent", false),
            (-32000, "Too Many Requests", false),
            (-32000, "execution timeout", false),
            (3, "execution reverted", false),
        ];
        for (code, message, expected) in cases {
            assert_eq!(is_of_the_block(code, message), expected, "{code} {message}");
        }
    }
}
