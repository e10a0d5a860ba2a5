// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {LibString} from "solady/utils/LibString.sol";
import {
    AllocationEntry,
    G1Point,
    SignedDelegation,
    SignedDelegationReceipt,
    SlotAllocation
} from "./Objects.sol";
import {Signing} from "./Signing.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title The one definition of a valid delegation (design §2)
/// @notice The same rules stand in `crates/protocol/src/delegation.rs`: what opens a window settles its price, and
/// nothing else does. That the signer is the slot's proposer is the relay's word: it signs a receipt for no other.
abstract contract ValidDelegation {
    uint8 private constant ALLOCATION_VERSION = 1;
    uint256 private constant MAX_URL_BYTES = 256;
    uint256 private constant BLS_KEY_BYTES = 48;
    /// @dev EIP-2537: multiplication in G1, which refuses what is not of the subgroup.
    address private constant BLS12_G1MSM = 0x000000000000000000000000000000000000000C;
    /// @dev What that may cost: about four times its price, 12,000. A refusal burns all of it.
    uint256 private constant G1MSM_GAS = 50_000;

    /// @notice Decodes a delegation's metadata, canonical or not. Reverts if it does not decode.
    /// @dev Only so that `_allocationOf` can catch that; of no use by itself.
    function decodeMetadata(bytes calldata metadata)
        external
        pure
        returns (uint8 version, SlotAllocation memory allocation)
    {
        return abi.decode(metadata, (uint8, SlotAllocation));
    }

    /// @dev Judges the delegation of `slot` for all its rollups at once. Signatures last, for they cost most.
    /// @param relay whose receipt counts
    /// @return allocation the slot's allocation, if it is valid
    /// @return fault empty if it is valid, else what is wrong
    function _validAllocation(
        IRegistry registry,
        bytes32 signingDomain,
        uint64 slot,
        address relay,
        SignedDelegation calldata signed,
        SignedDelegationReceipt calldata receipt
    ) internal view returns (SlotAllocation memory allocation, string memory fault) {
        if (signed.delegation.slot != slot) return (allocation, "delegation's slot");
        bool formed;
        (formed, allocation) = _allocationOf(signed.delegation.metadata);
        if (!formed) return (allocation, "metadata");
        if (allocation.slot != slot) return (allocation, "allocation's slot");
        if (receipt.receipt.slot != slot) return (allocation, "receipt's slot");
        if (receipt.receipt.delegationHash != Signing.delegationHash(signed.delegation)) {
            return (allocation, "receipt's hash");
        }
        if (receipt.receipt.receivedAtMs >= allocation.startMs) return (allocation, "received late");
        if (!_isKey(signed.delegation.delegate)) return (allocation, "delegate");
        address signer = Signing.recover(
            Signing.signingRoot(
                Signing.delegationReceiptRoot(receipt.receipt),
                receipt.signingId,
                receipt.nonce,
                block.chainid,
                signingDomain
            ),
            receipt.signature
        );
        if (signer == address(0) || signer != relay) return (allocation, "relay's signature");
        if (!registry.isSignedDelegation(signed)) return (allocation, "proposer's signature");
    }

    /// @dev The allocation of a delegation's metadata, if it is the canonical encoding of one with each rollup once.
    function _allocationOf(bytes calldata metadata)
        internal
        view
        returns (bool formed, SlotAllocation memory allocation)
    {
        // What is decoded comes back encoded, so the compare is with the one encoding of what the metadata holds.
        (bool decoded, bytes memory again) =
            address(this).staticcall(abi.encodeCall(this.decodeMetadata, (metadata)));
        if (!decoded || keccak256(again) != keccak256(metadata)) return (false, allocation);
        uint8 version;
        (version, allocation) = abi.decode(again, (uint8, SlotAllocation));
        formed = version == ALLOCATION_VERSION && _areEntries(allocation.entries);
    }

    function _areEntries(AllocationEntry[] memory entries) private pure returns (bool) {
        bool ascending = true;
        for (uint256 i = 0; i < entries.length; ++i) {
            AllocationEntry memory entry = entries[i];
            if (entry.delegate.length != BLS_KEY_BYTES) return false;
            if (bytes(entry.url).length > MAX_URL_BYTES || !LibString.is7BitASCII(entry.url)) return false;
            // The relay's allocations ascend, which costs one comparison each; others are searched.
            ascending = ascending && (i == 0 || entries[i - 1].rollupId < entry.rollupId);
            if (ascending) continue;
            for (uint256 j = 0; j < i; ++j) {
                if (entries[j].rollupId == entry.rollupId) return false;
            }
        }
        return true;
    }

    /// @dev Whether a point is a BLS public key: in the group, and not its zero. The proposer's is judged with its
    /// signature; the delegate's has none here, but off L1 a delegation to no key is none.
    function _isKey(G1Point calldata point) private view returns (bool) {
        if (point.x_a | point.x_b | point.y_a | point.y_b == 0) return false;
        (bool inGroup,) = BLS12_G1MSM.staticcall{gas: G1MSM_GAS}(abi.encode(point, uint256(1)));
        return inGroup;
    }
}
