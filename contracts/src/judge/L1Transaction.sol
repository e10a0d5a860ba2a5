// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// @title Reads an EIP-1559 transaction of L1
/// @notice What a batch's transaction says, without its signature, fees and nonce: those are the relay's to check
/// before it holds a constraint. RLP in its one form: no leading zeros, no longer headers than needed.
/// @dev Reads calldata in place: a batch is 120 KiB. Places in calldata are `pos` and `end`, with
/// `pos <= end <= calldatasize()`.
library L1Transaction {
    struct Call {
        uint256 chainId;
        uint256 gasLimit;
        address to;
        uint256 value;
        bool hasAccessList;
    }

    /// What stands at a place: nothing that is RLP, a string, a list.
    enum Kind {
        Bad,
        Text,
        List
    }

    uint256 private constant EIP1559 = 0x02;
    uint256 private constant FIELDS = 12;

    /// @notice Reads `0x02 ‖ rlp([chainId, nonce, maxPriorityFeePerGas, maxFeePerGas, gasLimit, to, value, input,
    /// accessList, yParity, r, s])`.
    /// @return ok whether it is one; else the rest is meaningless
    /// @return call what the fields say
    /// @return input the call's data
    function read(bytes calldata raw)
        internal
        pure
        returns (bool ok, Call memory call, bytes calldata input)
    {
        input = raw[:0];
        uint256 pos;
        assembly ("memory-safe") {
            pos := raw.offset
        }
        uint256 end = pos + raw.length;
        if (raw.length == 0 || _byte(pos) != EIP1559) return (false, call, input);
        (Kind kind, uint256 data, uint256 next) = _item(pos + 1, end);
        if (kind != Kind.List || next != end) return (false, call, input);
        next = data;
        for (uint256 i = 0; i < FIELDS; ++i) {
            (kind, data, next) = _item(next, end);
            // Only the access list is one.
            if (kind != (i == 8 ? Kind.List : Kind.Text)) return (false, call, input);
            if (i == 7) {
                assembly ("memory-safe") {
                    input.offset := data
                    input.length := sub(next, data)
                }
            } else if (i == 8) {
                call.hasAccessList = next != data;
            } else if (!_field(call, i, data, next - data)) {
                return (false, call, input);
            }
        }
        ok = next == end;
    }

    /// @dev Takes a field of at most a word.
    function _field(Call memory call, uint256 index, uint256 pos, uint256 length)
        private
        pure
        returns (bool)
    {
        if (length > 32) return false;
        uint256 number = length == 0 ? 0 : _load(pos) >> (256 - 8 * length);
        if (index == 5) {
            // Of twenty bytes.
            // forge-lint: disable-next-line(unsafe-typecast)
            call.to = address(uint160(number));
            return length == 20;
        }
        if (index == 0) call.chainId = number;
        if (index == 4) call.gasLimit = number;
        if (index == 6) call.value = number;
        return length == 0 || _byte(pos) != 0;
    }

    /// @dev The item at `pos`: its content from `data` to `next`.
    function _item(uint256 pos, uint256 end) private pure returns (Kind kind, uint256 data, uint256 next) {
        if (pos == end) return (Kind.Bad, end, end);
        uint256 prefix = _byte(pos);
        if (prefix < 0x80) return (Kind.Text, pos, pos + 1);
        kind = prefix < 0xc0 ? Kind.Text : Kind.List;
        uint256 length = prefix - (kind == Kind.Text ? 0x80 : 0xc0);
        data = pos + 1;
        if (length > 55) {
            // The length's own length, one to eight bytes.
            uint256 own = length - 55;
            if (own > end - data) return (Kind.Bad, end, end);
            length = _load(data) >> (256 - 8 * own);
            // Less fits the short form, or fewer bytes of length.
            if (length < 56 || length >> (8 * (own - 1)) == 0) return (Kind.Bad, end, end);
            data += own;
        }
        if (length > end - data) return (Kind.Bad, end, end);
        // A small byte stands for itself.
        if (prefix == 0x81 && _byte(data) < 0x80) return (Kind.Bad, end, end);
        next = data + length;
    }

    function _byte(uint256 pos) private pure returns (uint256) {
        return _load(pos) >> 248;
    }

    function _load(uint256 pos) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(pos)
        }
    }
}
