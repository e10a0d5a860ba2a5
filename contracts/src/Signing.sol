// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {
    AuctionResult,
    Commitment,
    ConstraintReceipt,
    Delegation,
    DelegationReceipt,
    Registration
} from "./Objects.sol";

/// @title Signing roots, as Commit-Boost forms them (design §3)
/// @notice object root → info root → signing root; the last two are SSZ hash tree roots, four sha256 in all.
library Signing {
    uint256 internal constant REGISTRATION = 1;
    uint256 internal constant DELEGATION = 2;
    uint256 internal constant COMMITMENT = 3;
    uint256 internal constant CONSTRAINTS = 4;
    uint256 internal constant BID_ACK = 0x101;
    uint256 internal constant AUCTION_RESULT = 0x102;
    uint256 internal constant DELEGATION_RECEIPT = 0x103;
    uint256 internal constant CONSTRAINT_RECEIPT = 0x104;

    /// @dev Domain type of Commit-Boost, "mmoC".
    bytes4 private constant DOMAIN_TYPE = 0x6d6d6f43;

    /// @notice The signing domain of a network: the domain type and the first 28 bytes of its fork data root.
    /// @param genesisForkVersion the consensus layer's fork version at genesis
    function domain(bytes4 genesisForkVersion) internal pure returns (bytes32) {
        bytes32 forkDataRoot = sha256(abi.encode(genesisForkVersion, bytes32(0)));
        return bytes32(DOMAIN_TYPE) | (forkDataRoot >> 32);
    }

    /// @notice Object root of a commitment.
    function commitmentRoot(Commitment calldata commitment) internal pure returns (bytes32) {
        return keccak256(abi.encode(COMMITMENT, commitment));
    }

    /// @notice Object root of a validator's registration by `owner`.
    function registrationRoot(address owner) internal pure returns (bytes32) {
        return keccak256(abi.encode(REGISTRATION, Registration(owner)));
    }

    /// @notice Object root of a delegation.
    function delegationRoot(Delegation calldata delegation) internal pure returns (bytes32) {
        return keccak256(abi.encode(DELEGATION, delegation));
    }

    /// @notice Object root of a market relay's auction result.
    function auctionResultRoot(AuctionResult calldata result) internal pure returns (bytes32) {
        return keccak256(abi.encode(AUCTION_RESULT, result));
    }

    /// @notice Object root of a market relay's receipt of a delegation.
    function delegationReceiptRoot(DelegationReceipt calldata receipt) internal pure returns (bytes32) {
        return keccak256(abi.encode(DELEGATION_RECEIPT, receipt));
    }

    /// @notice Object root of a relay's receipt of constraints.
    function constraintReceiptRoot(ConstraintReceipt calldata receipt) internal pure returns (bytes32) {
        return keccak256(abi.encode(CONSTRAINT_RECEIPT, receipt));
    }

    /// @notice `hash_tree_root(PropCommitSigningInfo{objectRoot, signingId, nonce, chainId})`.
    function infoRoot(bytes32 objectRoot, bytes32 signingId, uint64 nonce, uint256 chainId)
        internal
        pure
        returns (bytes32)
    {
        bytes32 left = sha256(abi.encode(objectRoot, signingId));
        bytes32 right = sha256(abi.encode(littleEndian(nonce), littleEndian(chainId)));
        return sha256(abi.encode(left, right));
    }

    /// @notice The 32 bytes that are signed.
    function signingRoot(
        bytes32 objectRoot,
        bytes32 signingId,
        uint64 nonce,
        uint256 chainId,
        bytes32 signingDomain
    ) internal pure returns (bytes32) {
        return sha256(abi.encode(infoRoot(objectRoot, signingId, nonce, chainId), signingDomain));
    }

    /// @notice The signer of a root, or zero if the signature is not 65 bytes r‖s‖v with low s and v 27 or 28.
    function recover(bytes32 root, bytes calldata signature) internal pure returns (address signer) {
        // On every failure the recovered address is zero.
        (signer,,) = ECDSA.tryRecoverCalldata(root, signature);
    }

    /// @notice The 32-byte little-endian (SSZ) form of an integer.
    function littleEndian(uint256 value) internal pure returns (bytes32) {
        uint256 v = value;
        v = ((v & 0xFF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00) >> 8)
            | ((v & 0x00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF) << 8);
        v = ((v & 0xFFFF0000FFFF0000FFFF0000FFFF0000FFFF0000FFFF0000FFFF0000FFFF0000) >> 16)
            | ((v & 0x0000FFFF0000FFFF0000FFFF0000FFFF0000FFFF0000FFFF0000FFFF0000FFFF) << 16);
        v = ((v & 0xFFFFFFFF00000000FFFFFFFF00000000FFFFFFFF00000000FFFFFFFF00000000) >> 32)
            | ((v & 0x00000000FFFFFFFF00000000FFFFFFFF00000000FFFFFFFF00000000FFFFFFFF) << 32);
        v = ((v & 0xFFFFFFFFFFFFFFFF0000000000000000FFFFFFFFFFFFFFFF0000000000000000) >> 64)
            | ((v & 0x0000000000000000FFFFFFFFFFFFFFFF0000000000000000FFFFFFFFFFFFFFFF) << 64);
        return bytes32((v >> 128) | (v << 128));
    }

    /// @notice `keccak256(abi.encode(Delegation))`: what a delegation receipt names.
    function delegationHash(Delegation calldata delegation) internal pure returns (bytes32) {
        return keccak256(abi.encode(delegation));
    }
}
