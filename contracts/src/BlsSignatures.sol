// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {G1Point, G2Point} from "./Objects.sol";

/// @title Validators' BLS signatures over 32-byte roots, by the precompiles of EIP-2537 (design §3)
/// @notice Keys in G1, signatures in G2, hashed to the curve with the consensus layer's domain separation tag
/// `BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_`.
/// @dev The pairing precompile refuses words that are no points of the right subgroup, in the one encoding there is
/// of each; it takes the point at infinity, which as a key would make infinity a signature over everything.
library BlsSignatures {
    /// @notice The pairing precompile did not answer even a good question: it got too little gas, or is not there, or
    /// costs more than `PAIRING_GAS`. Nothing is known about the signature.
    error PairingUnavailable();
    /// @notice The modular exponentiation precompile did not answer.
    error ModExpUnavailable();

    /// @dev What the pairing may cost: about four times its price, 102,900. A refusal burns all of it.
    uint256 private constant PAIRING_GAS = 400_000;
    address private constant MODEXP = address(5);

    /// @dev The tag and its length, as RFC 9380 appends it.
    bytes private constant DST_PRIME = "BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_\x2b";

    /// @dev The field's modulus.
    bytes32 private constant P_A = 0x000000000000000000000000000000001a0111ea397fe69a4b1ba7b6434bacd7;
    bytes32 private constant P_B = 0x64774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab;

    /// @dev The negated generator of G1.
    bytes32 private constant G_X_A = 0x0000000000000000000000000000000017f1d3a73197d7942695638c4fa9ac0f;
    bytes32 private constant G_X_B = 0xc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb;
    bytes32 private constant MINUS_G_Y_A = 0x00000000000000000000000000000000114d1d6855d545a8aa7d76c8cf2e21f2;
    bytes32 private constant MINUS_G_Y_B = 0x67816aef1db507c96655b9d5caac42364e6f38ba0ecb751bad54dcd6b939c2ca;

    /// @notice Whether `key` signed `root`. False for a key or a signature that is no valid point.
    function verify(bytes32 root, G1Point memory key, G2Point memory signature) internal view returns (bool) {
        if ((key.x_a | key.x_b | key.y_a | key.y_b) == 0) return false;
        // e(-G, signature) · e(key, H(root)) = 1
        (bool taken, bool one) =
            _pairing(abi.encode(G_X_A, G_X_B, MINUS_G_Y_A, MINUS_G_Y_B, signature, key, hashToG2(root)));
        if (taken) return one;
        // Refused for its points, or for want of gas? Points at infinity are always taken, at the same price. Less gas
        // is left now than before, so if it is enough now it was enough then.
        (taken,) = _pairing(new bytes(0x300));
        if (!taken) revert PairingUnavailable();
        return false;
    }

    /// @notice The point of G2 that stands for `root` (RFC 9380, suite BLS12381G2_XMD:SHA-256_SSWU_RO_).
    function hashToG2(bytes32 root) internal view returns (BLS.G2Point memory) {
        bytes32 b0 = sha256(abi.encodePacked(bytes32(0), bytes32(0), root, uint16(256), uint8(0), DST_PRIME));
        bytes32[9] memory b;
        for (uint8 i = 1; i <= 8; ++i) {
            // Of the first, b[0] is zero: b1 is the hash of b0 itself.
            b[i] = sha256(abi.encodePacked(b0 ^ b[i - 1], i, DST_PRIME));
        }
        return BLS.add(_mapToG2(b[1], b[2], b[3], b[4]), _mapToG2(b[5], b[6], b[7], b[8]));
    }

    function _mapToG2(bytes32 high0, bytes32 low0, bytes32 high1, bytes32 low1)
        private
        view
        returns (BLS.G2Point memory)
    {
        (bytes32 c0a, bytes32 c0b) = _modP(high0, low0);
        (bytes32 c1a, bytes32 c1b) = _modP(high1, low1);
        return BLS.toG2(BLS.Fp2(c0a, c0b, c1a, c1b));
    }

    /// @dev A 64-byte number modulo the field's modulus: to the power of one.
    function _modP(bytes32 high, bytes32 low) private view returns (bytes32 a, bytes32 b) {
        (bool success, bytes memory result) = MODEXP.staticcall(
            abi.encode(uint256(64), uint256(32), uint256(64), high, low, uint256(1), P_A, P_B)
        );
        if (!success || result.length != 64) revert ModExpUnavailable();
        return abi.decode(result, (bytes32, bytes32));
    }

    /// @return taken whether the precompile took the input
    /// @return one whether the product of the pairings is one
    function _pairing(bytes memory input) private view returns (bool taken, bool one) {
        bytes memory result;
        (taken, result) = BLS.BLS12_PAIRING_CHECK.staticcall{gas: PAIRING_GAS}(input);
        taken = taken && result.length == 32;
        one = taken && abi.decode(result, (uint256)) == 1;
    }
}
