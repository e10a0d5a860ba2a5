// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Commitment, Delegation, SignedCommitment} from "../src/Objects.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Signing} from "../src/Signing.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {PlainSlasher, Receiver, RegistryFixture, TestSlasher} from "./RegistryFixture.sol";

/// Slashes by commitments on the opt-in path: who is liable, once, and where the ether goes.
contract RegistrySlashTest is RegistryFixture {
    // ---- Shares.

    function test_shares() public {
        bytes32 root = liable(1);
        uint256 amount = 1 ether + 7;
        slasher.set(amount, rewarded, harmed);
        vm.expectEmit(address(registry));
        emit IRegistry.OperatorSlashed(
            IRegistry.SlashingType.Commitment, root, owner, challenger, address(slasher), amount
        );
        vm.expectEmit(address(registry));
        emit IRegistry.SlashShared(
            root, rewarded, 0.2 ether + 1, harmed, 0.3 ether + 2, amount - 0.5 ether - 3
        );
        assertEq(slash(root, 1), amount);
        assertEq(rewarded.balance, 0.2 ether + 1);
        assertEq(challenger.balance, 0);
        assertEq(harmed.balance, 0);
        assertEq(registry.credit(harmed), 0.3 ether + 2);
        assertEq(address(0).balance, amount - 0.5 ether - 3);
        assertEq(collateral(root), 5 * uint256(MIN) - amount);
        assertEq(registry.getHistoricalCollateral(root, block.timestamp), collateral(root));
        assertEq(address(registry).balance, collateral(root) + registry.credit(harmed));

        assertTrue(registry.isSlashed(root));
        assertTrue(registry.isSlashed(root, address(slasher)));
        assertFalse(registry.isSlashed(root, stranger));
        assertFalse(registry.isOptedIntoSlasher(root, address(slasher)));
        assertEq(registry.getOperatorData(root).slashedAt, block.timestamp);
        assertEq(slasher.lastCommitter(), committer);
        assertEq(slasher.lastChallenger(), challenger);
        Delegation memory none;
        assertEq(slasher.lastDelegation(), keccak256(abi.encode(none)));
    }

    function testFuzz_sharesSumUp(uint256 amount, uint80 held, bool someoneHarmed) public {
        held = uint80(bound(held, MIN, type(uint80).max));
        amount = bound(amount, 1, type(uint256).max - 1);
        bytes32 root = register(junk(1, 1), owner, held);
        skip(FRAUD);
        optIn(root);
        slasher.set(amount, rewarded, someoneHarmed ? harmed : address(0));
        uint256 taken = slash(root, 1);
        assertEq(taken, amount < held ? amount : held);
        assertEq(collateral(root), held - taken);
        assertEq(rewarded.balance, taken / 5);
        assertEq(registry.credit(harmed), someoneHarmed ? taken * 3 / 10 : 0);
        assertEq(registry.credit(address(0)), 0);
        assertEq(rewarded.balance + registry.credit(harmed) + address(0).balance, taken);
        assertGe(address(0).balance, taken / 2);
        assertEq(address(registry).balance, collateral(root) + registry.credit(harmed));
    }

    function test_nothingToTake() public {
        bytes32 root = liable(1);
        slasher.set(0, rewarded, harmed);
        slashFails(root, 1, IRegistry.NoCollateralSlashed.selector);
        assertFalse(registry.isSlashed(root));
        // A slash that takes nothing uses up nothing.
        slasher.set(type(uint128).max, rewarded, harmed);
        slash(root, 1);
        assertEq(collateral(root), 0);
        slashFails(root, 2, IRegistry.NoCollateralSlashed.selector);
    }

    function test_noFault() public {
        bytes32 root = liable(1);
        slasher.set(type(uint256).max, rewarded, harmed);
        slashFails(root, 1, TestSlasher.NoFault.selector);
    }

    function test_slasherThatIsNone() public {
        bytes32 root = operator(1);
        optIn(root, stranger, committer);
        SignedCommitment memory commitment = sign(commitmentOf(1, stranger), KEY);
        vm.expectRevert();
        registry.slashCommitment(root, commitment, "");
        assertEq(collateral(root), 5 * uint256(MIN));
    }

    /// A slasher that names nobody: the challenger is rewarded, the rest burnt.
    function test_plainSlasher() public {
        PlainSlasher plain = new PlainSlasher();
        bytes32 root = operator(1);
        optIn(root, address(plain), committer);
        SignedCommitment memory commitment = sign(commitmentOf(1, address(plain)), KEY);
        vm.expectEmit(address(registry));
        emit IRegistry.SlashShared(root, challenger, 0.2 ether, address(0), 0, 0.8 ether);
        vm.prank(challenger);
        registry.slashCommitment(root, commitment, "");
        assertEq(challenger.balance, 0.2 ether);
        assertEq(address(0).balance, 0.8 ether);
    }

    function test_slasherThatAnswersBadly() public {
        bytes32 root = liable(1);
        slasher.set(1 ether, rewarded, harmed);
        for (uint8 answer = 1; answer <= uint8(type(TestSlasher.Answer).max); ++answer) {
            if (collateral(root) < 1 ether) {
                vm.deal(address(this), 10 ether);
                registry.addCollateral{value: 10 ether}(root);
            }
            slasher.setAnswer(TestSlasher.Answer(answer));
            slash(root, answer);
            assertEq(challenger.balance, uint256(answer) * 0.2 ether);
        }
        slasher.setAnswer(TestSlasher.Answer.Good);
        slasher.set(1 ether, address(0), harmed);
        slash(root, 100);
        assertEq(challenger.balance, 8 * 0.2 ether);
        assertEq(rewarded.balance, 0);
        assertEq(registry.credit(harmed), 0);
        assertEq(address(0).balance, 8 * 0.8 ether);
    }

    /// Whoever brings a slash with little gas keeps nothing from the others: it happens as it should, or not at all.
    function test_littleGasTakesNobodysShare() public {
        bytes32 root = liable(1);
        SignedCommitment memory commitment = signed(1);
        bytes memory input = abi.encodeWithSignature(
            "slashCommitment(bytes32,((uint64,bytes,bytes32,address),uint64,bytes32,bytes),bytes)",
            root,
            commitment,
            bytes("evidence")
        );
        uint256 succeeded = 0;
        uint256 starved = 0;
        uint256 before = vm.snapshotState();
        for (uint256 gasLimit = 30_000; gasLimit < 500_000; gasLimit += 1500) {
            vm.prank(challenger);
            (bool success, bytes memory result) = address(registry).call{gas: gasLimit}(input);
            if (success) {
                ++succeeded;
                assertEq(rewarded.balance, uint256(MIN) / 5);
                assertEq(registry.credit(harmed), uint256(MIN) * 3 / 10);
                assertEq(challenger.balance, 0);
            } else if (result.length == 4 && bytes4(result) == IRegistry.InsufficientGas.selector) {
                ++starved;
            }
            vm.revertToState(before);
        }
        assertGt(succeeded, 20);
        assertGt(starved, 5);
    }

    function test_rewardedThatTakesNoEther() public {
        bytes32 root = liable(1);
        Receiver receiver = new Receiver();
        receiver.refuse(true);
        slasher.set(1 ether, address(receiver), harmed);
        slash(root, 1);
        assertEq(registry.credit(address(receiver)), 0.2 ether);

        bytes memory claim = abi.encodeCall(registry.claimCredit, ());
        vm.expectRevert(IRegistry.EthTransferFailed.selector);
        receiver.act(address(registry), claim, 0);
        receiver.refuse(false);
        vm.expectEmit(address(registry));
        emit IRegistry.CreditClaimed(address(receiver), 0.2 ether);
        receiver.act(address(registry), claim, 0);
        assertEq(address(receiver).balance, 0.2 ether);
        vm.expectRevert(IRegistry.NoCredit.selector);
        receiver.act(address(registry), claim, 0);
    }

    /// The rewarded cannot make a slash dear for who brings it.
    function test_rewardedThatBurnsGas() public {
        bytes32 root = liable(1);
        Receiver receiver = new Receiver();
        receiver.burnGas();
        slasher.set(1 ether, address(receiver), harmed);
        SignedCommitment memory commitment = signed(1);
        uint256 gasBefore = gasleft();
        registry.slashCommitment(root, commitment, "evidence");
        assertLt(gasBefore - gasleft(), 400_000);
        assertEq(registry.credit(address(receiver)), 0.2 ether);
    }

    function test_creditOfTheHarmed() public {
        slash(liable(1), 1);
        assertEq(registry.credit(harmed), uint256(MIN) * 3 / 10);
        vm.prank(harmed);
        registry.claimCredit();
        assertEq(harmed.balance, uint256(MIN) * 3 / 10);
        assertEq(registry.credit(harmed), 0);
        vm.expectRevert(IRegistry.NoCredit.selector);
        vm.prank(harmed);
        registry.claimCredit();
        vm.expectRevert(IRegistry.NoCredit.selector);
        vm.prank(stranger);
        registry.claimCredit();
    }

    // ---- Whose signature.

    function test_whoseSignature() public {
        bytes32 root = liable(1);
        Commitment memory object = commitmentOf(1, address(slasher));
        _unauthorized(root, sign(object, KEY + 1));
        SignedCommitment memory commitment = sign(object, KEY);
        commitment.nonce = 1;
        _unauthorized(root, commitment);
        commitment = sign(object, KEY);
        commitment.signingId = bytes32(0);
        _unauthorized(root, commitment);
        commitment = sign(object, KEY);
        commitment.commitment.requestHash = bytes32(uint256(1));
        _unauthorized(root, commitment);
        // A malformed signature is nobody's: not even the zero address's.
        commitment = sign(object, KEY);
        commitment.signature = "";
        _unauthorized(root, commitment);
        commitment.signature = new bytes(65);
        _unauthorized(root, commitment);
        // The other of the two signatures that would recover the same signer.
        commitment.signature = _other(sign(object, KEY).signature);
        _unauthorized(root, commitment);
        // Signed for another chain.
        vm.chainId(CHAIN + 1);
        commitment = sign(object, KEY);
        vm.chainId(CHAIN);
        _unauthorized(root, commitment);
        // Signed for another network.
        bytes32 signingRoot = Signing.signingRoot(
            keccak256(abi.encode(Signing.COMMITMENT, object)), ID, 0, CHAIN, Signing.domain(0x00000000)
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, signingRoot);
        commitment.signature = abi.encodePacked(r, s, v);
        _unauthorized(root, commitment);

        registry.slashCommitment(root, sign(object, KEY), "");
    }

    function _unauthorized(bytes32 root, SignedCommitment memory commitment) private {
        vm.expectRevert(IRegistry.UnauthorizedCommitment.selector);
        registry.slashCommitment(root, commitment, "");
    }

    function _other(bytes memory signature) private pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        uint8 v = uint8(signature[64]);
        uint256 n = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        return abi.encodePacked(r, n - uint256(s), v == 27 ? 28 : 27);
    }

    function test_whoNeverOptedIn() public {
        bytes32 root = operator(1);
        slashFails(root, 1, IRegistry.NotOptedIn.selector);
        slashFails(bytes32(uint256(1)), 1, IRegistry.NotOptedIn.selector);
        // Nor to this slasher.
        optIn(root, stranger, committer);
        slashFails(root, 1, IRegistry.NotOptedIn.selector);
    }

    /// Another operator's committer costs only that operator.
    function test_whoseCollateral() public {
        bytes32 guilty = liable(1);
        bytes32 innocent = operator(2);
        optIn(innocent, address(slasher), stranger);
        slashFails(innocent, 1, IRegistry.UnauthorizedCommitment.selector);
        slash(guilty, 1);
        assertEq(collateral(innocent), 5 * uint256(MIN));
    }

    /// Naming another committer frees nobody from what the first signed.
    function test_earlierCommitter() public {
        bytes32 root = liable(1);
        uint256 before = vm.snapshotState();
        skip(OPT_IN);
        optOut(root);
        slash(root, 1);
        vm.revertToState(before);

        skip(OPT_IN);
        optOut(root);
        skip(OPT_IN);
        optIn(root, address(slasher), vm.addr(KEY + 1));
        slash(root, 1);
        registry.slashCommitment(root, sign(commitmentOf(2, address(slasher)), KEY + 1), "");
    }

    /// Who names a rival's committer first answers for the rival's signatures.
    function test_squattedCommitter() public {
        bytes32 squatter = liable(1);
        registry.slashCommitment(squatter, signed(1), "");
        assertTrue(registry.isSlashed(squatter));
    }

    // ---- Until when.

    function test_untilWhenAfterUnregistration() public {
        bytes32 root = liable(1);
        unregister(root);
        skip(UNREGISTER - 1);
        assertTrue(registry.isLiable(root, address(slasher)));
        uint256 before = vm.snapshotState();
        slash(root, 1);
        vm.revertToState(before);
        skip(1);
        assertFalse(registry.isLiable(root, address(slasher)));
        slashFails(root, 1, IRegistry.OperatorAlreadyUnregistered.selector);
        registry.claimCollateral(root);
        assertFalse(registry.isLiable(root, address(slasher)));
        slashFails(root, 1, IRegistry.OperatorDeleted.selector);
    }

    function test_untilWhenAfterSlash() public {
        bytes32 root = liable(1);
        slash(root, 1);
        skip(SLASH - 1);
        assertTrue(registry.isLiable(root, address(slasher)));
        slash(root, 2);
        // The window is that of the first slash.
        skip(1);
        assertFalse(registry.isLiable(root, address(slasher)));
        slashFails(root, 3, IRegistry.SlashWindowExpired.selector);
    }

    function test_untilWhenAfterOptOut() public {
        bytes32 root = liable(1);
        skip(OPT_IN);
        optOut(root);
        skip(SLASH - 1);
        uint256 before = vm.snapshotState();
        slash(root, 1);
        vm.revertToState(before);
        skip(1);
        slashFails(root, 1, IRegistry.SlashWindowExpired.selector);
    }

    // ---- Once.

    function test_once() public {
        bytes32 root = liable(1);
        bytes32 fault = keccak256(
            abi.encode(
                bytes32(0),
                keccak256(abi.encode(Signing.COMMITMENT, commitmentOf(1, address(slasher)))),
                keccak256("evidence")
            )
        );
        bytes32 digest =
            keccak256(abi.encode(IRegistry.SlashingType.Commitment, root, address(slasher), fault));
        assertFalse(registry.slashingEvidenceAlreadyUsed(digest));
        slash(root, 1);
        assertTrue(registry.slashingEvidenceAlreadyUsed(digest));
        slashFails(root, 1, IRegistry.SlashingAlreadyOccurred.selector);
        // Signed again in another form it is the same commitment.
        SignedCommitment memory again = sign(commitmentOf(1, address(slasher)), KEY, bytes32(uint256(9)), 77);
        vm.expectRevert(IRegistry.SlashingAlreadyOccurred.selector);
        registry.slashCommitment(root, again, "evidence");
        // What else is the same fault the slasher tells.
        registry.slashCommitment(root, again, "other evidence");
        slash(root, 2);
    }

    // ---- Reentrancy.

    function test_slasherThatComesBack() public {
        bytes32 root = liable(1);
        bytes32 other = operator(2);
        bytes32 leaving = operator(3);
        unregister(leaving);
        skip(UNREGISTER - FRAUD);
        // An owner that is the slasher itself may call what only owners may.
        bytes32 own = register(junk(4, 1), address(slasher), MIN);
        SignedCommitment memory second = signed(2);
        IRegistry.RegistrationProof memory proof = registry.getRegistrationProof(junk(2, 1), owner, 0, ID);
        bytes[10] memory calls = [
            abi.encodeWithSignature(
                "slashCommitment(bytes32,((uint64,bytes,bytes32,address),uint64,bytes32,bytes),bytes)",
                root,
                second,
                bytes("evidence")
            ),
            abi.encodeCall(registry.slashRegistration, (proof)),
            abi.encodeCall(
                registry.slashEquivocation, (proof, delegationOf("plain"), delegationOf("allocated"))
            ),
            abi.encodeCall(registry.slashDelegation, (proof, delegationOf("plain"), address(slasher), "")),
            abi.encodeCall(registry.claimCollateral, (leaving)),
            abi.encodeCall(registry.claimSlashedCollateral, (other)),
            abi.encodeCall(registry.claimCredit, ()),
            abi.encodeCall(registry.unregister, (own)),
            abi.encodeCall(registry.optInToSlasher, (own, address(slasher), stranger)),
            abi.encodeCall(registry.optOutOfSlasher, (own, address(slasher)))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            uint256 before = vm.snapshotState();
            slasher.setCall(address(registry), calls[i]);
            slash(root, 1);
            assertFalse(slasher.called());
            assertEq(bytes4(slasher.result()), ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            assertEq(collateral(root), 4 * uint256(MIN));
            vm.revertToState(before);
        }
    }

    /// What a slasher must be able to do while it judges: give back its lock.
    function test_slasherThatFreesWhileItJudges() public {
        bytes32 root = liable(1);
        slasher.lock(registry, root);
        slasher.setCall(address(registry), abi.encodeCall(registry.freeCollateral, (root)));
        slash(root, 1);
        assertTrue(slasher.called());
        skip(SLASH);
        registry.claimSlashedCollateral(root);
    }

    function test_rewardedThatComesBack() public {
        bytes32 root = liable(1);
        Receiver receiver = new Receiver();
        slasher.set(1 ether, address(receiver), address(receiver));
        receiver.onReceive(address(registry), abi.encodeCall(registry.claimCredit, ()));
        slash(root, 1);
        assertFalse(receiver.called());
        assertEq(bytes4(receiver.result()), ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        assertEq(address(receiver).balance, 0.2 ether);
        assertEq(registry.credit(address(receiver)), 0.3 ether);
    }

    function test_harmedThatComesBack() public {
        bytes32 root = liable(1);
        Receiver receiver = new Receiver();
        slasher.set(1 ether, rewarded, address(receiver));
        slash(root, 1);
        bytes memory claim = abi.encodeCall(registry.claimCredit, ());
        receiver.onReceive(address(registry), claim);
        receiver.act(address(registry), claim, 0);
        assertFalse(receiver.called());
        assertEq(address(receiver).balance, 0.3 ether);
        assertEq(address(registry).balance, collateral(root));
    }

    function test_ownerThatComesBack() public {
        Receiver receiver = new Receiver();
        bytes32 root = register(junk(1, 1), address(receiver), MIN);
        bytes32 other = register(junk(2, 1), address(receiver), MIN);
        unregister(root);
        unregister(other);
        skip(UNREGISTER);
        receiver.onReceive(address(registry), abi.encodeCall(registry.claimCollateral, (root)));
        registry.claimCollateral(root);
        assertFalse(receiver.called());
        assertEq(address(receiver).balance, MIN);
        assertEq(address(registry).balance, MIN);
    }

    // ---- Slashing oneself.

    /// By a slasher of one's own: half is gone, and the rest comes out no sooner.
    function testFuzz_selfSlash(uint80 held, uint80 amount, uint32 wait) public {
        held = uint80(bound(held, MIN, type(uint80).max));
        bytes32 root = register(junk(1, 1), owner, held);
        skip(FRAUD);
        optIn(root);
        amount = uint80(bound(amount, 1, held));
        slasher.set(amount, owner, owner);
        uint256 start = block.timestamp;
        SignedCommitment memory commitment = signed(1);
        vm.prank(owner);
        registry.slashCommitment(root, commitment, "");
        if (registry.credit(owner) != 0) {
            vm.prank(owner);
            registry.claimCredit();
        }
        assertLe(owner.balance, uint256(amount) / 2);
        vm.expectRevert(IRegistry.SlashingAlreadyOccurred.selector);
        vm.prank(owner);
        registry.unregister(root);
        skip(wait);
        (bool success,) = address(registry).call(abi.encodeCall(registry.claimSlashedCollateral, (root)));
        if (success) {
            assertGe(block.timestamp, start + UNREGISTER);
            assertLe(owner.balance, held - (amount - uint256(amount) / 2));
        } else {
            assertLt(block.timestamp, start + SLASH);
        }
    }

    // ---- Locks.

    function test_lock() public {
        bytes32 root = liable(1);
        uint48 until = uint48(block.timestamp) + registry.MAX_LOCK();
        vm.expectEmit(address(registry));
        emit IRegistry.CollateralLocked(root, address(slasher), 1, until);
        slasher.lock(registry, root);
        unregister(root);
        skip(UNREGISTER);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.CollateralIsLocked.selector, until));
        registry.claimCollateral(root);
        // Liable as long as it is locked.
        assertTrue(registry.isLiable(root, address(slasher)));
        vm.expectEmit(address(registry));
        emit IRegistry.CollateralFreed(root, address(slasher), 0);
        slasher.free(registry, root);
        assertFalse(registry.isLiable(root, address(slasher)));
        slashFails(root, 1, IRegistry.OperatorAlreadyUnregistered.selector);
        registry.claimCollateral(root);
    }

    function test_slashUnderLock() public {
        bytes32 root = liable(1);
        slasher.lock(registry, root);
        unregister(root);
        skip(UNREGISTER + 5 days);
        slash(root, 1);
        slasher.free(registry, root);
        vm.expectRevert(IRegistry.SlashWindowNotMet.selector);
        registry.claimSlashedCollateral(root);
        skip(SLASH);
        registry.claimSlashedCollateral(root);
    }

    function test_lockEndsByTime() public {
        bytes32 root = liable(1);
        slasher.lock(registry, root);
        unregister(root);
        skip(registry.MAX_LOCK() - 1);
        assertTrue(registry.isLiable(root, address(slasher)));
        vm.expectPartialRevert(IRegistry.CollateralIsLocked.selector);
        registry.claimCollateral(root);
        skip(1);
        assertFalse(registry.isLiable(root, address(slasher)));
        slashFails(root, 1, IRegistry.OperatorAlreadyUnregistered.selector);
        vm.expectRevert(IRegistry.NotLocked.selector);
        slasher.free(registry, root);
        registry.claimCollateral(root);
        vm.expectRevert(IRegistry.OperatorDeleted.selector);
        slasher.lock(registry, root);
    }

    function test_lockOfASlashedOperator() public {
        bytes32 root = liable(1);
        slash(root, 1);
        skip(SLASH - 1);
        slasher.lock(registry, root);
        skip(1);
        vm.expectPartialRevert(IRegistry.CollateralIsLocked.selector);
        registry.claimSlashedCollateral(root);
        slash(root, 2);
        slasher.free(registry, root);
        registry.claimSlashedCollateral(root);
    }

    /// A slasher cannot keep what it locked by locking it again: an open lock makes nobody liable to a new one.
    function test_noLockForEver() public {
        bytes32 root = liable(1);
        unregister(root);
        skip(UNREGISTER - 1);
        slasher.lock(registry, root);
        uint256 until = block.timestamp + registry.MAX_LOCK();
        skip(1);
        vm.expectRevert(IRegistry.OperatorAlreadyUnregistered.selector);
        slasher.lock(registry, root);
        vm.warp(until);
        registry.claimCollateral(root);
    }

    function test_whoMayLock() public {
        bytes32 root = operator(1);
        vm.expectRevert(IRegistry.NotOptedIn.selector);
        slasher.lock(registry, root);
        vm.expectRevert(IRegistry.NotOptedIn.selector);
        registry.lockCollateral(root);
        optIn(root);
        vm.expectRevert(IRegistry.NotLocked.selector);
        slasher.free(registry, root);
        slasher.lock(registry, root);
        TestSlasher other = new TestSlasher();
        vm.expectRevert(IRegistry.NotLocked.selector);
        other.free(registry, root);
        skip(OPT_IN);
        optOut(root);
        skip(SLASH);
        vm.expectRevert(IRegistry.SlashWindowExpired.selector);
        slasher.lock(registry, root);
    }

    /// One slasher's locks are not another's, nor does one's lock make liable to the other.
    function test_locksOfSeveralSlashers() public {
        bytes32 root = liable(1);
        TestSlasher other = new TestSlasher();
        optIn(root, address(other), committer);
        slasher.lock(registry, root);
        slasher.lock(registry, root);
        other.lock(registry, root);
        slasher.free(registry, root);
        other.free(registry, root);
        vm.expectRevert(IRegistry.NotLocked.selector);
        other.free(registry, root);
        unregister(root);
        skip(UNREGISTER);
        assertTrue(registry.isLiable(root, address(slasher)));
        assertFalse(registry.isLiable(root, address(other)));
        vm.expectPartialRevert(IRegistry.CollateralIsLocked.selector);
        registry.claimCollateral(root);
        slasher.free(registry, root);
        registry.claimCollateral(root);
    }

    /// Locks that ended by time are not given back later, which would end another's.
    function test_locksOfAnEarlierRound() public {
        bytes32 root = liable(1);
        TestSlasher other = new TestSlasher();
        optIn(root, address(other), committer);
        other.lock(registry, root);
        other.lock(registry, root);
        skip(registry.MAX_LOCK());
        vm.expectEmit(address(registry));
        emit IRegistry.CollateralLocked(
            root, address(slasher), 1, uint48(block.timestamp) + registry.MAX_LOCK()
        );
        slasher.lock(registry, root);
        vm.expectRevert(IRegistry.NotLocked.selector);
        other.free(registry, root);
        other.lock(registry, root);
        other.free(registry, root);
        vm.expectRevert(IRegistry.NotLocked.selector);
        other.free(registry, root);
        unregister(root);
        skip(UNREGISTER);
        vm.expectPartialRevert(IRegistry.CollateralIsLocked.selector);
        registry.claimCollateral(root);
        slasher.free(registry, root);
        registry.claimCollateral(root);
    }

    /// Locks end together, after the last.
    function test_laterLockKeepsEarlierOnes() public {
        bytes32 root = liable(1);
        slasher.lock(registry, root);
        skip(20 days);
        slasher.lock(registry, root);
        skip(20 days);
        slasher.free(registry, root);
        slasher.free(registry, root);
        vm.expectRevert(IRegistry.NotLocked.selector);
        slasher.free(registry, root);
    }
}
