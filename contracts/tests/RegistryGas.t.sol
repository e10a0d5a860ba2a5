// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Commitment, Delegation, SignedCommitment, SignedDelegation} from "../src/Objects.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {ISlashBeneficiaries, ISlasher} from "../src/interfaces/ISlasher.sol";
import {RegistryFixture} from "./RegistryFixture.sol";

/// Judges nothing and stores nothing: what is left is the registry's.
contract LeanSlasher is ISlasher, ISlashBeneficiaries {
    function slash(Delegation calldata, Commitment calldata, address, bytes calldata, address)
        external
        pure
        returns (uint256)
    {
        return 1 ether;
    }

    function beneficiaries() external pure returns (address, address) {
        return (address(0xb0b), address(0xbad));
    }
}

/// Gas of the registry's calls, without the 21,000 and the calldata of the L1 transaction that carries them but where
/// the name says so. The numbers stand in `snapshots/`; `contracts/test` fails if they change unsaid.
/// Everything is cold but the registry itself, which a transaction's receiver is not.
contract RegistryGasTest is RegistryFixture {
    function setUp() public override {
        super.setUp();
        // Ether was burnt before.
        vm.deal(address(0), 1);
    }

    /// The storage as a transaction finds it.
    function _cool() private {
        vm.cool(address(registry));
        vm.cool(address(slasher));
        (bool warm,) = address(registry).staticcall("");
        assertFalse(warm);
    }

    function test_register1() public {
        uint256 used = _register("register 1", 1);
        // The whole transaction, calldata at 16 and 4.
        bytes memory input = abi.encodeCall(registry.register, (junk(1, 1), owner, ID));
        uint256 carried = 21_000;
        for (uint256 i = 0; i < input.length; ++i) {
            carried += input[i] == 0 ? 4 : 16;
        }
        vm.snapshotValue("Registry", "register 1, the whole transaction", used + carried);
        assertLe(used + carried, 120_000);
    }

    function test_register10() public {
        _register("register 10", 10);
    }

    function test_register100() public {
        uint256 used = _register("register 100", 100);
        assertLe(used, 80_000 + 100 * 1500);
    }

    function _register(string memory name, uint256 count) private returns (uint256 used) {
        IRegistry.SignedRegistration[] memory regs = junk(1, count);
        vm.deal(owner, MIN);
        _cool();
        vm.prank(owner, owner);
        registry.register{value: MIN}(regs, owner, ID);
        used = vm.snapshotGasLastCall("Registry", name);
    }

    function test_optIn() public {
        bytes32 root = operator(1);
        _cool();
        vm.prank(owner);
        registry.optInToSlasher(root, address(slasher), committer);
        assertLe(vm.snapshotGasLastCall("Registry", "opt in"), 60_000);
    }

    function test_addCollateral() public {
        bytes32 root = operator(1);
        vm.deal(owner, MIN);
        _cool();
        vm.prank(owner);
        registry.addCollateral{value: MIN}(root);
        assertLe(vm.snapshotGasLastCall("Registry", "add collateral"), 60_000);
    }

    function test_verifyDelegation() public {
        registerVector("three");
        IRegistry.RegistrationProof memory proof = proofOf("three", 0);
        SignedDelegation memory delegation = delegationOf("allocated");
        _cool();
        registry.isSignedDelegation(delegation);
        assertLe(vm.snapshotGasLastCall("Registry", "delegation BLS check"), 210_000);
        _cool();
        registry.verifyDelegation(proof, delegation);
        assertLe(vm.snapshotGasLastCall("Registry", "delegation BLS check, of a registered key"), 210_000);
    }

    function test_slashRegistration() public {
        registerVector("forged");
        // Its points are good; a key that is no point costs the bound of a pairing besides.
        IRegistry.RegistrationProof memory proof = proofOf("forged", 1);
        _cool();
        registry.slashRegistration(proof);
        assertLe(vm.snapshotGasLastCall("Registry", "slash a forged registration"), 350_000);
        proof = proofOf("forged", 8);
        _cool();
        registry.slashRegistration(proof);
        assertLe(vm.snapshotGasLastCall("Registry", "slash a registration of no point"), 800_000);
    }

    function test_slashEquivocation() public {
        registerVector("three");
        skip(FRAUD);
        IRegistry.RegistrationProof memory proof = proofOf("three", 0);
        SignedDelegation memory one = delegationOf("plain");
        SignedDelegation memory two = delegationOf("allocated");
        _cool();
        registry.slashEquivocation(proof, one, two);
        assertLe(vm.snapshotGasLastCall("Registry", "slash an equivocation of delegations"), 520_000);
    }

    function test_slashCommitment() public {
        LeanSlasher lean = new LeanSlasher();
        vm.deal(address(0xb0b), 1);
        bytes32 root = operator(1);
        optIn(root, address(lean), committer);
        SignedCommitment memory commitment = sign(commitmentOf(1, address(lean)), KEY);
        vm.cool(address(lean));
        _cool();
        registry.slashCommitment(root, commitment, "evidence");
        uint256 used = vm.snapshotGasLastCall("Registry", "slash a commitment, the registry's part");
        assertLe(used, 150_000);
    }
}
