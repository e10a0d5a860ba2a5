// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {BlsSignatures} from "../src/BlsSignatures.sol";
import {G1Point, G2Point} from "../src/Objects.sol";

/// Signs as a validator does, with the precompiles of EIP-2537. For tests only: the secret is in the open.
library BlsSigner {
    /// The public key of a secret.
    function key(uint256 secret) internal view returns (G1Point memory) {
        BLS.G1Point[] memory points = new BLS.G1Point[](1);
        points[0] = BLS.G1Point(
            0x0000000000000000000000000000000017f1d3a73197d7942695638c4fa9ac0f,
            0xc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb,
            0x0000000000000000000000000000000008b3f481e3aaa0f1a09e30ed741d8ae4,
            0xfcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1
        );
        BLS.G1Point memory point = BLS.msm(points, _scalar(secret));
        return G1Point(point.x_a, point.x_b, point.y_a, point.y_b);
    }

    /// The signature of a secret over a signing root.
    function sign(uint256 secret, bytes32 root) internal view returns (G2Point memory) {
        BLS.G2Point[] memory points = new BLS.G2Point[](1);
        points[0] = BlsSignatures.hashToG2(root);
        BLS.G2Point memory point = BLS.msm(points, _scalar(secret));
        return abi.decode(abi.encode(point), (G2Point));
    }

    function _scalar(uint256 secret) private pure returns (bytes32[] memory scalars) {
        scalars = new bytes32[](1);
        scalars[0] = bytes32(secret);
    }
}
