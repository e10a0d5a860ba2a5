// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {BlsSignatures} from "../src/BlsSignatures.sol";
import {Delegation, G1Point, G2Point, SignedDelegation} from "../src/Objects.sol";
import {Signing} from "../src/Signing.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {RegistryFixture} from "./RegistryFixture.sol";

/// What the Rust signer signs the registry takes, and both call the same signatures forged.
contract RegistryVectorsTest is RegistryFixture {
    function delegationRoot(Delegation calldata delegation) external pure returns (bytes32) {
        return Signing.delegationRoot(delegation);
    }

    function verify(bytes32 root, G1Point calldata key, G2Point calldata signature)
        external
        view
        returns (bool)
    {
        return BlsSignatures.verify(root, key, signature);
    }

    function test_operators() public {
        string memory json = _vectors("operators.json");
        assertEq(vm.parseJsonBytes32(json, ".domain"), Signing.domain(FORK));
        assertEq(vm.parseJsonUint(json, ".chainId"), CHAIN);
        uint256 signedKeys = 0;
        uint256 forgedKeys = 0;
        for (uint256 i = 0; i < 6; ++i) {
            string memory place = string.concat(".operators[", vm.toString(i), "]");
            bytes32 root = registerVector(vm.parseJsonString(json, string.concat(place, ".name")));
            assertEq(root, vm.parseJsonBytes32(json, string.concat(place, ".root")));
            uint256 keys = registry.getOperatorData(root).numKeys;
            for (uint256 k = 0; k < keys; ++k) {
                if (_key(json, string.concat(place, ".keys[", vm.toString(k), "]"), place, k)) ++signedKeys;
                else ++forgedKeys;
            }
        }
        assertFalse(vm.keyExistsJson(json, ".operators[6]"));
        assertEq(signedKeys, 1 + 1 + 3 + 5 + 2 + 1);
        assertEq(forgedKeys, 13);
    }

    function _key(string memory json, string memory place, string memory operator, uint256 index)
        private
        view
        returns (bool isSigned)
    {
        bytes memory encoded = vm.parseJsonBytes(json, string.concat(place, ".proof"));
        IRegistry.RegistrationProof memory proof = abi.decode(encoded, (IRegistry.RegistrationProof));
        assertEq(abi.encode(proof), encoded);
        isSigned = vm.parseJsonBool(json, string.concat(place, ".signed"));
        assertEq(
            registry.verifyRegistration(proof),
            isSigned,
            vm.parseJsonString(json, string.concat(place, ".name"))
        );

        IRegistry.SignedRegistration[] memory regs = abi.decode(
            vm.parseJsonBytes(json, string.concat(operator, ".registrations")),
            (IRegistry.SignedRegistration[])
        );
        address owner_ = vm.parseJsonAddress(json, string.concat(operator, ".owner"));
        assertEq(abi.encode(registry.getRegistrationProof(regs, owner_, index, proof.signingId)), encoded);
    }

    function test_delegations() public view {
        string memory json = _vectors("delegations.json");
        uint256 i = 0;
        uint256 signedOnes = 0;
        for (; vm.keyExistsJson(json, string.concat(".delegations[", vm.toString(i), "]")); ++i) {
            string memory place = string.concat(".delegations[", vm.toString(i), "]");
            bytes memory encoded = vm.parseJsonBytes(json, string.concat(place, ".encoded"));
            SignedDelegation memory delegation = abi.decode(encoded, (SignedDelegation));
            assertEq(abi.encode(delegation), encoded);
            bytes32 objectRoot = this.delegationRoot(delegation.delegation);
            assertEq(objectRoot, vm.parseJsonBytes32(json, string.concat(place, ".objectRoot")));
            bytes32 root = Signing.signingRoot(
                objectRoot, delegation.signingId, delegation.nonce, CHAIN, Signing.domain(FORK)
            );
            assertEq(root, vm.parseJsonBytes32(json, string.concat(place, ".signingRoot")));
            bool isSigned = vm.parseJsonBool(json, string.concat(place, ".signed"));
            assertEq(
                registry.isSignedDelegation(delegation),
                isSigned,
                vm.parseJsonString(json, string.concat(place, ".name"))
            );
            assertEq(this.verify(root, delegation.delegation.proposer, delegation.signature), isSigned);
            if (isSigned) ++signedOnes;
        }
        assertEq(i, 14);
        assertEq(signedOnes, 9);
    }

    /// The registration of `tests/vectors/signing` is the one that was decompressed for these vectors.
    function test_upstreamSignature() public {
        string memory json = vm.readFile("../tests/vectors/signing/urc_signing_domain_bls.json");
        IRegistry.RegistrationProof memory proof = proofOf("upstream", 0);
        address owner_ = vm.parseJsonAddress(json, ".owner");
        assertEq(proof.signingId, vm.parseJsonBytes32(json, ".signing_id"));
        assertEq(proof.registration.nonce, vm.parseJsonUint(json, ".nonce"));
        assertEq(Signing.registrationRoot(owner_), vm.parseJsonBytes32(json, ".object_root"));
        // The compressed forms are the x coordinates, with three bits of flags; of G2 c1 comes first.
        bytes memory pk = vm.parseJsonBytes(json, ".pk");
        bytes memory x =
            abi.encodePacked(uint128(uint256(proof.registration.pubkey.x_a)), proof.registration.pubkey.x_b);
        bytes memory signature = vm.parseJsonBytes(json, ".signature");
        G2Point memory point = proof.registration.signature;
        bytes memory x2 = abi.encodePacked(
            uint128(uint256(point.x_c1_a)), point.x_c1_b, uint128(uint256(point.x_c0_a)), point.x_c0_b
        );
        pk[0] &= 0x1f;
        signature[0] &= 0x1f;
        assertEq(x, pk);
        assertEq(x2, signature);
        assertTrue(
            this.verify(
                vm.parseJsonBytes32(json, ".signing_root"),
                proof.registration.pubkey,
                proof.registration.signature
            )
        );
        registerVector("upstream");
        assertTrue(registry.verifyRegistration(proof));
    }

    function testFuzz_anotherRootIsNotSigned(bytes32 root) public view {
        SignedDelegation memory delegation = delegationOf("plain");
        assertFalse(this.verify(root, delegation.delegation.proposer, delegation.signature));
    }

    /// Whatever the words, they make no signature, and the call ends.
    function testFuzz_wordsAreNoSignature(G1Point memory key, G2Point memory signature, bytes32 root)
        public
        view
    {
        assertFalse(this.verify(root, key, signature));
    }

    /// RFC 9380 has no vectors for this tag; that the Rust side's signatures verify shows the hash. This shows that it
    /// is not the tag of solady's own.
    function test_hashToTheCurve() public view {
        BLS.G2Point memory point = BlsSignatures.hashToG2(bytes32(uint256(1)));
        BLS.G2Point memory other = BLS.hashToG2(abi.encode(uint256(1)));
        assertNotEq(abi.encode(point), abi.encode(other));
    }

    /// Little gas is never taken for a bad signature: a call either says true or reverts.
    function test_littleGasProvesNoForgery() public {
        registerVector("one");
        IRegistry.RegistrationProof memory proof = proofOf("one", 0);
        bytes memory call = abi.encodeCall(registry.verifyRegistration, (proof));
        uint256 succeeded = 0;
        for (uint256 gasLimit = 20_000; gasLimit < 800_000; gasLimit += 3000) {
            (bool success, bytes memory result) = address(registry).staticcall{gas: gasLimit}(call);
            if (!success) continue;
            assertTrue(abi.decode(result, (bool)));
            ++succeeded;
        }
        assertGt(succeeded, 150);
    }

    /// Nor does a challenger get through with little gas.
    function test_littleGasSlashesNoRegistration() public {
        bytes32 root = registerVector("one");
        bytes memory call = abi.encodeCall(registry.slashRegistration, (proofOf("one", 0)));
        for (uint256 gasLimit = 30_000; gasLimit < 800_000; gasLimit += 7000) {
            (bool success,) = address(registry).call{gas: gasLimit}(call);
            assertFalse(success);
        }
        assertEq(collateral(root), 5 * uint256(MIN));
    }

    /// On a chain without the precompiles, or where they cost too much, nobody is called a forger.
    function test_noPairingProvesNoForgery() public {
        registerVector("one");
        IRegistry.RegistrationProof memory proof = proofOf("one", 0);
        vm.mockCallRevert(BLS.BLS12_PAIRING_CHECK, bytes(""), bytes(""));
        vm.expectRevert(BlsSignatures.PairingUnavailable.selector);
        registry.verifyRegistration(proof);
        vm.clearMockedCalls();
        vm.mockCall(BLS.BLS12_PAIRING_CHECK, bytes(""), bytes(""));
        vm.expectRevert(BlsSignatures.PairingUnavailable.selector);
        registry.verifyRegistration(proof);
        vm.clearMockedCalls();
        vm.mockCallRevert(address(5), bytes(""), bytes(""));
        vm.expectRevert(BlsSignatures.ModExpUnavailable.selector);
        registry.verifyRegistration(proof);
    }

    /// Every function and event of the Universal Registry Contract is here, under its selector.
    function test_abiOfTheUniversalRegistryContract() public view {
        string memory json = _vectors("urc_abi.json");
        bytes memory code = address(registry).code;
        string[] memory functions = vm.parseJsonStringArray(json, ".functions");
        string[] memory events = vm.parseJsonStringArray(json, ".events");
        assertEq(functions.length, 22);
        assertEq(events.length, 7);
        for (uint256 i = 0; i < functions.length; ++i) {
            // PUSH4 selector: the dispatcher compares it.
            bytes memory push = abi.encodePacked(uint8(0x63), bytes4(keccak256(bytes(functions[i]))));
            assertTrue(_contains(code, push), functions[i]);
        }
        for (uint256 i = 0; i < events.length; ++i) {
            assertTrue(_contains(code, abi.encodePacked(uint8(0x7f), keccak256(bytes(events[i])))), events[i]);
        }
        assertFalse(_contains(code, abi.encodePacked(uint8(0x63), bytes4(keccak256("unregister(bytes)")))));
    }

    function _contains(bytes memory code, bytes memory part) private pure returns (bool) {
        uint256 length = part.length;
        bytes32 wanted = keccak256(part);
        uint8 first = uint8(part[0]);
        for (uint256 i = 0; i + length <= code.length; ++i) {
            if (uint8(code[i]) != first) continue;
            bytes32 found;
            assembly ("memory-safe") {
                found := keccak256(add(add(code, 0x20), i), length)
            }
            if (found == wanted) return true;
        }
        return false;
    }
}
