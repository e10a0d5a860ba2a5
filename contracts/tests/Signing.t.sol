// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {Signing} from "../src/Signing.sol";

contract SigningTest is Test {
    function recover(bytes32 root, bytes calldata signature) external pure returns (address) {
        return Signing.recover(root, signature);
    }

    /// Domains that other implementations assert.
    function test_domainsOfThePublicNetworks() public pure {
        assertEq(
            Signing.domain(0x00000000), 0x6d6d6f43f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a9
        );
        assertEq(
            Signing.domain(0x10000910), 0x6d6d6f43719103511efa4f1362ff2a50996cccf329cc84cb410c5e5c7d351d03
        );
    }

    /// A registration's root that the Universal Registry Contract accepts on Hoodi.
    function test_signingRootOfARegistration() public pure {
        bytes32 object =
            keccak256(abi.encode(Signing.REGISTRATION, address(0x1111111111111111111111111111111111111111)));
        assertEq(object, 0xe0c7a9983a810c24cb2fe92669f4f7e99cdccb534b2d47678b3ca9b9c903bb11);
        bytes32 id = 0x1111111111111111111111111111111111111111111111111111111111111111;
        assertEq(
            Signing.signingRoot(object, id, 7, 560_048, Signing.domain(0x10000910)),
            0x4240d5f3e751da159213905acd2637a245bc3bae2a3ca2af21fa0d3c2de94087
        );
    }

    function testFuzz_littleEndianReversesBytes(uint256 value) public pure {
        bytes32 reversed = Signing.littleEndian(value);
        for (uint256 i = 0; i < 32; ++i) {
            assertEq(reversed[i], bytes32(value)[31 - i]);
        }
    }

    function testFuzz_recoversTheSigner(uint256 key, bytes32 root) public view {
        key = bound(key, 1, 2 ** 255);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, root);
        assertEq(this.recover(root, abi.encodePacked(r, s, v)), vm.addr(key));
    }

    function testFuzz_refusesOtherV(uint8 v, bytes32 root) public view {
        vm.assume(v != 27 && v != 28);
        (, bytes32 r, bytes32 s) = vm.sign(1, root);
        assertEq(this.recover(root, abi.encodePacked(r, s, v)), address(0));
    }

    function testFuzz_refusesOtherLengths(bytes calldata signature) public view {
        vm.assume(signature.length != 65);
        assertEq(this.recover(keccak256("root"), signature), address(0));
    }
}
