// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Commitment, SignedCommitment, SignedDelegation} from "../src/Objects.sol";
import {Signing} from "../src/Signing.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Receiver, RegistryFixture, TestSlasher} from "./RegistryFixture.sol";

/// Slashes that need a validator key's signature: forged registrations, delegations, equivocation.
contract RegistryKeysTest is RegistryFixture {
    // ---- Forged registrations.

    function test_forgedRegistration() public {
        bytes32 root = registerVector("forged");
        address operatorOwner = registry.getOperatorData(root).owner;
        IRegistry.RegistrationProof memory proof = proofOf("forged", 1);
        skip(FRAUD - 1);
        vm.expectEmit(address(registry));
        emit IRegistry.OperatorSlashed(
            IRegistry.SlashingType.Fraud, root, operatorOwner, challenger, address(registry), MIN
        );
        vm.expectEmit(address(registry));
        emit IRegistry.SlashShared(root, challenger, MIN / 2, address(0), 0, MIN / 2 + 1);
        vm.prank(challenger);
        assertEq(registry.slashRegistration(proof), MIN);
        assertEq(challenger.balance, MIN / 2);
        assertEq(address(0).balance, MIN / 2 + 1);
        assertEq(collateral(root), 4 * uint256(MIN));
        assertTrue(registry.isSlashed(root));
        assertEq(
            registry.getHistoricalCollateral(root, block.timestamp - 1), 5 * uint256(MIN), "before the slash"
        );

        // It never opts in, and leaves when the slash window is over.
        skip(1);
        vm.expectRevert(IRegistry.SlashingAlreadyOccurred.selector);
        vm.prank(operatorOwner);
        registry.optInToSlasher(root, address(slasher), committer);
        vm.expectRevert(IRegistry.SlashWindowNotMet.selector);
        registry.claimSlashedCollateral(root);
        skip(SLASH - 1);
        registry.claimSlashedCollateral(root);
    }

    /// Every kind of forgery is slashed, each once, until nothing is left; the good key is not.
    function test_everyForgery() public {
        bytes32 root = registerVector("forged", 13 * uint256(MIN));
        vm.startPrank(challenger);
        IRegistry.RegistrationProof memory good = proofOf("forged", 0);
        vm.expectRevert(IRegistry.FraudProofChallengeInvalid.selector);
        registry.slashRegistration(good);
        for (uint256 i = 1; i <= 13; ++i) {
            IRegistry.RegistrationProof memory proof = proofOf("forged", i);
            registry.slashRegistration(proof);
            vm.expectRevert(IRegistry.SlashingAlreadyOccurred.selector);
            registry.slashRegistration(proof);
        }
        assertEq(collateral(root), 0);
        assertEq(challenger.balance, 13 * uint256(MIN / 2));
        vm.expectRevert(IRegistry.NoCollateral.selector);
        registry.slashRegistration(good);
        assertEq(address(registry).balance, 0);
    }

    function test_forgedRegistrationWithLessThanTheMinimumLeft() public {
        registerVector("forged", 2 * uint256(MIN) - 1);
        registry.slashRegistration(proofOf("forged", 1));
        IRegistry.RegistrationProof memory proof = proofOf("forged", 2);
        vm.expectRevert(IRegistry.CollateralBelowMinimum.selector);
        registry.slashRegistration(proof);
    }

    function test_forgedRegistrationFoundTooLate() public {
        IRegistry.RegistrationProof memory proof = proofOf("forged", 1);
        // Of a root that is not registered the window is long over.
        vm.expectRevert(IRegistry.FraudProofWindowExpired.selector);
        registry.slashRegistration(proof);
        bytes32 root = registerVector("forged");
        skip(FRAUD);
        vm.expectRevert(IRegistry.FraudProofWindowExpired.selector);
        registry.slashRegistration(proof);
        unregister(root);
        skip(UNREGISTER);
        registry.claimCollateral(root);
        vm.expectRevert(IRegistry.OperatorDeleted.selector);
        registry.slashRegistration(proof);
    }

    /// Nobody is slashed for another's registration, or for one with a signing id that was not registered.
    function test_forgeriesThatAreNotRegistered() public {
        bytes32 root = registerVector("one");
        IRegistry.RegistrationProof memory proof = proofOf("forged", 1);
        proof.registrationRoot = root;
        vm.expectRevert(IRegistry.InvalidProof.selector);
        registry.slashRegistration(proof);
        proof = proofOf("one", 0);
        proof.signingId = bytes32(0);
        vm.expectRevert(IRegistry.InvalidProof.selector);
        registry.slashRegistration(proof);
        proof = proofOf("one", 0);
        vm.expectRevert(IRegistry.FraudProofChallengeInvalid.selector);
        registry.slashRegistration(proof);
    }

    function test_challengerThatTakesNoEther() public {
        registerVector("forged");
        Receiver receiver = new Receiver();
        receiver.refuse(true);
        receiver.act(address(registry), abi.encodeCall(registry.slashRegistration, (proofOf("forged", 1))), 0);
        assertEq(registry.credit(address(receiver)), MIN / 2);
    }

    /// By a forged registration of one's own: half of the minimum is gone, and the rest comes out no sooner.
    function test_selfSlashByForgery() public {
        bytes32 root = registerVector("forged", MIN);
        address operatorOwner = registry.getOperatorData(root).owner;
        uint256 start = block.timestamp;
        IRegistry.RegistrationProof memory proof = proofOf("forged", 1);
        vm.prank(operatorOwner);
        registry.slashRegistration(proof);
        assertEq(operatorOwner.balance, MIN / 2);
        vm.warp(start + UNREGISTER - 1);
        vm.expectRevert(IRegistry.SlashWindowNotMet.selector);
        registry.claimSlashedCollateral(root);
        vm.warp(start + SLASH);
        registry.claimSlashedCollateral(root);
        assertEq(operatorOwner.balance, MIN / 2);
    }

    // ---- Commitments under a delegation.

    function _delegated() private returns (bytes32 root) {
        root = registerVector("three");
        skip(FRAUD);
        // The operator's own committer is another than the delegation's.
        optIn(root, address(slasher), stranger);
    }

    function test_commitmentUnderADelegation() public {
        bytes32 root = _delegated();
        IRegistry.RegistrationProof memory proof = proofOf("three", 0);
        SignedDelegation memory delegation = delegationOf("allocated");
        SignedCommitment memory commitment = signed(1);
        vm.expectEmit(address(registry));
        emit IRegistry.OperatorSlashed(
            IRegistry.SlashingType.Commitment,
            root,
            registry.getOperatorData(root).owner,
            challenger,
            address(slasher),
            MIN
        );
        vm.prank(challenger);
        assertEq(registry.slashCommitment(proof, delegation, commitment, "evidence"), MIN);
        assertEq(slasher.lastDelegation(), keccak256(abi.encode(delegation.delegation)));
        assertEq(slasher.lastCommitter(), committer);
        assertEq(slasher.lastChallenger(), challenger);
        assertEq(rewarded.balance, MIN / 5);
        assertEq(registry.credit(harmed), uint256(MIN) * 3 / 10);
        assertTrue(registry.isSlashed(root, address(slasher)));

        bytes32 fault = keccak256(
            abi.encode(
                keccak256(abi.encode(Signing.DELEGATION, delegation.delegation)),
                keccak256(abi.encode(Signing.COMMITMENT, commitment.commitment)),
                keccak256("evidence")
            )
        );
        assertTrue(
            registry.slashingEvidenceAlreadyUsed(
                keccak256(abi.encode(IRegistry.SlashingType.Commitment, root, address(slasher), fault))
            )
        );
    }

    function test_commitmentUnderADelegationOnce() public {
        _delegated();
        IRegistry.RegistrationProof memory proof = proofOf("three", 0);
        SignedDelegation memory delegation = delegationOf("plain");
        registry.slashCommitment(proof, delegation, signed(1), "evidence");
        // Nor in another form of the commitment, nor in one of the delegation.
        _failsUnder(proof, delegation, signed(1), IRegistry.SlashingAlreadyOccurred.selector);
        SignedCommitment memory again = sign(commitmentOf(1, address(slasher)), KEY, bytes32(uint256(1)), 5);
        _failsUnder(proof, delegation, again, IRegistry.SlashingAlreadyOccurred.selector);
        _failsUnder(
            proof, delegationOf("another signing id"), signed(1), IRegistry.SlashingAlreadyOccurred.selector
        );
        registry.slashCommitment(proof, delegation, signed(2), "evidence");
        registry.slashCommitment(proof, delegationOf("allocated"), signed(1), "evidence");
    }

    function _failsUnder(
        IRegistry.RegistrationProof memory proof,
        SignedDelegation memory delegation,
        SignedCommitment memory commitment,
        bytes4 why
    ) private {
        vm.expectRevert(why);
        registry.slashCommitment(proof, delegation, commitment, "evidence");
    }

    function test_commitmentUnderADelegationRefusals() public {
        bytes32 root = registerVector("three");
        IRegistry.RegistrationProof memory proof = proofOf("three", 0);
        SignedDelegation memory delegation = delegationOf("plain");
        skip(FRAUD);
        // A slasher that the operator never opted in to is not its judge, whomever its proposer names.
        _failsUnder(proof, delegation, signed(1), IRegistry.NotOptedIn.selector);
        optIn(root, address(slasher), stranger);

        SignedCommitment memory other = sign(commitmentOf(1, address(slasher)), KEY + 1);
        _failsUnder(proof, delegation, other, IRegistry.UnauthorizedCommitment.selector);
        _failsUnder(
            proof, delegationOf("another committer"), signed(1), IRegistry.UnauthorizedCommitment.selector
        );
        // A delegation to nobody makes no malformed signature good.
        other.signature = "";
        _failsUnder(proof, delegationOf("no committer"), other, IRegistry.UnauthorizedCommitment.selector);

        // Keys of others.
        _failsUnder(proof, delegationOf("second key"), signed(1), IRegistry.InvalidProof.selector);
        _failsUnder(proof, delegationOf("unregistered key"), signed(1), IRegistry.InvalidProof.selector);
        IRegistry.RegistrationProof memory foreign = proofOf("one", 0);
        foreign.registrationRoot = root;
        _failsUnder(foreign, delegation, signed(1), IRegistry.InvalidProof.selector);

        string[5] memory unsigned = [
            "signed by another key",
            "another nonce",
            "another network",
            "signature of the other",
            "signed as a registration"
        ];
        for (uint256 i = 0; i < unsigned.length; ++i) {
            _failsUnder(
                proof, delegationOf(unsigned[i]), signed(1), IRegistry.DelegationSignatureInvalid.selector
            );
        }

        unregister(root);
        skip(UNREGISTER);
        _failsUnder(proof, delegation, signed(1), IRegistry.OperatorAlreadyUnregistered.selector);
    }

    /// Either key of the operator is its own.
    function test_verifyDelegation() public {
        registerVector("three");
        registry.verifyDelegation(proofOf("three", 0), delegationOf("plain"));
        registry.verifyDelegation(proofOf("three", 1), delegationOf("second key"));
        IRegistry.RegistrationProof memory proof = proofOf("three", 0);
        SignedDelegation memory delegation = delegationOf("second key");
        vm.expectRevert(IRegistry.InvalidProof.selector);
        registry.verifyDelegation(proof, delegation);
        delegation = delegationOf("another network");
        vm.expectRevert(IRegistry.DelegationSignatureInvalid.selector);
        registry.verifyDelegation(proof, delegation);
        proof = proofOf("one", 0);
        delegation = delegationOf("plain");
        vm.expectRevert(IRegistry.InvalidProof.selector);
        registry.verifyDelegation(proof, delegation);
    }

    // ---- Delegations alone.

    function test_slashDelegation() public {
        bytes32 root = _delegated();
        IRegistry.RegistrationProof memory proof = proofOf("three", 0);
        SignedDelegation memory delegation = delegationOf("allocated");
        vm.expectEmit(address(registry));
        emit IRegistry.OperatorSlashed(
            IRegistry.SlashingType.Delegation,
            root,
            registry.getOperatorData(root).owner,
            challenger,
            address(slasher),
            MIN
        );
        vm.prank(challenger);
        assertEq(registry.slashDelegation(proof, delegation, address(slasher), "evidence"), MIN);
        assertEq(slasher.lastRoot(), root);
        assertEq(slasher.lastDelegation(), keccak256(abi.encode(delegation.delegation)));
        assertEq(slasher.lastChallenger(), challenger);
        assertEq(rewarded.balance, MIN / 5);
        vm.expectRevert(IRegistry.SlashingAlreadyOccurred.selector);
        registry.slashDelegation(proof, delegation, address(slasher), "evidence");
        registry.slashDelegation(proof, delegation, address(slasher), "other evidence");
    }

    function test_slashDelegationRefusals() public {
        bytes32 root = registerVector("three");
        skip(FRAUD);
        IRegistry.RegistrationProof memory proof = proofOf("three", 0);
        SignedDelegation memory delegation = delegationOf("plain");
        _delegationFails(proof, delegation, IRegistry.NotOptedIn.selector);
        optIn(root, address(slasher), stranger);
        _delegationFails(proof, delegationOf("second key"), IRegistry.InvalidProof.selector);
        _delegationFails(
            proof, delegationOf("signed by another key"), IRegistry.DelegationSignatureInvalid.selector
        );
        slasher.set(type(uint256).max, rewarded, harmed);
        _delegationFails(proof, delegation, TestSlasher.NoFault.selector);
        slasher.set(0, rewarded, harmed);
        _delegationFails(proof, delegation, IRegistry.NoCollateralSlashed.selector);
        unregister(root);
        skip(UNREGISTER);
        _delegationFails(proof, delegation, IRegistry.OperatorAlreadyUnregistered.selector);
    }

    function _delegationFails(
        IRegistry.RegistrationProof memory proof,
        SignedDelegation memory delegation,
        bytes4 why
    ) private {
        vm.expectRevert(why);
        registry.slashDelegation(proof, delegation, address(slasher), "evidence");
    }

    // ---- Equivocation.

    function test_equivocation() public {
        bytes32 root = registerVector("three");
        skip(FRAUD);
        IRegistry.RegistrationProof memory proof = proofOf("three", 0);
        address operatorOwner = registry.getOperatorData(root).owner;
        vm.expectEmit(address(registry));
        emit IRegistry.OperatorSlashed(
            IRegistry.SlashingType.Equivocation, root, operatorOwner, challenger, address(registry), MIN
        );
        vm.expectEmit(address(registry));
        emit IRegistry.SlashShared(root, challenger, MIN / 2, address(0), 0, MIN / 2 + 1);
        vm.startPrank(challenger);
        assertEq(registry.slashEquivocation(proof, delegationOf("plain"), delegationOf("allocated")), MIN);
        assertEq(challenger.balance, MIN / 2);
        assertEq(collateral(root), 4 * uint256(MIN));
        assertTrue(registry.getOperatorData(root).equivocated);
        assertTrue(registry.isSlashed(root));
        // Once for each operator.
        SignedDelegation memory one = delegationOf("another delegate");
        SignedDelegation memory two = delegationOf("another committer");
        vm.expectRevert(IRegistry.OperatorAlreadyEquivocated.selector);
        registry.slashEquivocation(proof, one, two);
    }

    /// Delegations that differ at all.
    function test_whatEquivocates() public {
        registerVector("three");
        skip(FRAUD);
        string[3] memory others = ["allocated", "another committer", "another delegate"];
        uint256 before = vm.snapshotState();
        for (uint256 i = 0; i < others.length; ++i) {
            registry.slashEquivocation(proofOf("three", 0), delegationOf("plain"), delegationOf(others[i]));
            vm.revertToState(before);
            registry.slashEquivocation(proofOf("three", 0), delegationOf(others[i]), delegationOf("plain"));
            vm.revertToState(before);
        }
    }

    function test_whatDoesNotEquivocate() public {
        bytes32 root = registerVector("three");
        _innocent("plain", "allocated", IRegistry.FraudProofWindowNotMet.selector);
        skip(FRAUD);
        _innocent("plain", "plain", IRegistry.DelegationsAreSame.selector);
        // Signed twice in two forms.
        _innocent("plain", "another signing id", IRegistry.DelegationsAreSame.selector);
        _innocent("plain", "another slot", IRegistry.DifferentSlots.selector);
        _innocent("plain", "second key", IRegistry.InvalidProof.selector);
        _innocent("second key", "plain", IRegistry.InvalidProof.selector);
        _innocent("unregistered key", "plain", IRegistry.InvalidProof.selector);
        _innocent("allocated", "signed by another key", IRegistry.DelegationSignatureInvalid.selector);
        _innocent("another nonce", "allocated", IRegistry.DelegationSignatureInvalid.selector);
        _innocent("allocated", "another network", IRegistry.DelegationSignatureInvalid.selector);
        assertEq(collateral(root), 5 * uint256(MIN));

        // A key of another operator's.
        IRegistry.RegistrationProof memory foreign = proofOf("one", 0);
        foreign.registrationRoot = root;
        SignedDelegation memory one = delegationOf("plain");
        SignedDelegation memory two = delegationOf("allocated");
        vm.expectRevert(IRegistry.InvalidProof.selector);
        registry.slashEquivocation(foreign, one, two);
    }

    function _innocent(string memory nameOne, string memory nameTwo, bytes4 why) private {
        IRegistry.RegistrationProof memory proof = proofOf("three", 0);
        SignedDelegation memory one = delegationOf(nameOne);
        SignedDelegation memory two = delegationOf(nameTwo);
        vm.expectRevert(why);
        registry.slashEquivocation(proof, one, two);
    }

    function test_equivocationUntilWhen() public {
        bytes32 root = registerVector("three");
        skip(FRAUD);
        uint256 before = vm.snapshotState();
        unregister(root);
        skip(UNREGISTER);
        _innocent("plain", "allocated", IRegistry.OperatorAlreadyUnregistered.selector);
        registry.claimCollateral(root);
        _innocent("plain", "allocated", IRegistry.OperatorDeleted.selector);

        vm.revertToState(before);
        optIn(root);
        slash(root, 1);
        skip(SLASH);
        _innocent("plain", "allocated", IRegistry.SlashWindowExpired.selector);

        // What is locked is still liable.
        vm.revertToState(before);
        optIn(root);
        slasher.lock(registry, root);
        unregister(root);
        skip(UNREGISTER);
        registry.slashEquivocation(proofOf("three", 0), delegationOf("plain"), delegationOf("allocated"));
    }

    /// Of one that has less than the minimum left, all of it; of one that has nothing, nothing.
    function test_equivocationWithLittleLeft() public {
        bytes32 root = registerVector("three");
        skip(FRAUD);
        optIn(root);
        uint256 before = vm.snapshotState();
        slasher.set(5 * uint256(MIN) - 3, rewarded, harmed);
        slash(root, 1);
        vm.prank(challenger);
        assertEq(
            registry.slashEquivocation(proofOf("three", 0), delegationOf("plain"), delegationOf("allocated")),
            3
        );
        assertEq(collateral(root), 0);
        vm.revertToState(before);
        slasher.set(5 * uint256(MIN), rewarded, harmed);
        slash(root, 1);
        _innocent("plain", "allocated", IRegistry.NoCollateralSlashed.selector);
    }

    /// By an equivocation of one's own: half of the minimum is gone, and the rest comes out no sooner.
    function test_selfSlashByEquivocation() public {
        bytes32 root = registerVector("three", MIN);
        skip(FRAUD);
        address operatorOwner = registry.getOperatorData(root).owner;
        uint256 start = block.timestamp;
        IRegistry.RegistrationProof memory proof = proofOf("three", 0);
        SignedDelegation memory one = delegationOf("plain");
        SignedDelegation memory two = delegationOf("allocated");
        vm.prank(operatorOwner);
        registry.slashEquivocation(proof, one, two);
        assertEq(operatorOwner.balance, MIN / 2);
        vm.warp(start + UNREGISTER - 1);
        vm.expectRevert(IRegistry.SlashWindowNotMet.selector);
        registry.claimSlashedCollateral(root);
        vm.warp(start + SLASH);
        registry.claimSlashedCollateral(root);
        assertEq(operatorOwner.balance, MIN / 2);
        assertEq(address(registry).balance, 0);
    }

    /// A key that two operators registered costs each that signed for it, but not the one without the key.
    function test_keyOfTwoOperators() public {
        bytes32 three = registerVector("three");
        bytes32 other = registerVector("other");
        bytes32 five = registerVector("five");
        skip(FRAUD);
        registry.slashEquivocation(proofOf("three", 0), delegationOf("plain"), delegationOf("allocated"));
        registry.slashEquivocation(proofOf("other", 0), delegationOf("plain"), delegationOf("allocated"));
        assertEq(collateral(three), 4 * uint256(MIN));
        assertEq(collateral(other), 4 * uint256(MIN));
        assertEq(collateral(five), 5 * uint256(MIN));
    }

    /// A delegation signed on another chain with the same domain counts nowhere else.
    function test_anotherChain() public {
        assertTrue(registry.isSignedDelegation(delegationOf("plain")));
        vm.chainId(CHAIN + 1);
        assertFalse(registry.isSignedDelegation(delegationOf("plain")));
    }

    function test_commitmentOfDelegationIsNotThatOfOptIn() public {
        bytes32 root = _delegated();
        // On the opt-in path the delegation's committer is nobody's.
        SignedCommitment memory commitment = signed(1);
        vm.expectRevert(IRegistry.UnauthorizedCommitment.selector);
        registry.slashCommitment(root, commitment, "evidence");
        Commitment memory object = commitmentOf(1, stranger);
        // And a commitment that names another slasher is judged by that one alone.
        _failsUnder(
            proofOf("three", 0), delegationOf("plain"), sign(object, KEY), IRegistry.NotOptedIn.selector
        );
    }
}
