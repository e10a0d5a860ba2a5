// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Registry} from "../src/Registry.sol";
import {Signing} from "../src/Signing.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Receiver, RegistryFixture, TestSlasher} from "./RegistryFixture.sol";

/// Registering, opting in and out, collateral, leaving.
contract RegistryTest is RegistryFixture {
    // ---- Configuration.

    function test_config() public view {
        assertEq(abi.encode(registry.getConfig()), abi.encode(config()));
    }

    function test_configThatContradictsItselfOrTheChain() public {
        IRegistry.Config memory bad = config();
        bad.slashWindow = bad.unregistrationDelay - 1;
        vm.expectRevert(IRegistry.BadConfig.selector);
        new Registry(bad);
        bad.slashWindow = bad.unregistrationDelay;
        new Registry(bad);

        bad = config();
        bad.minCollateralWei = 0;
        vm.expectRevert(IRegistry.BadConfig.selector);
        new Registry(bad);

        bad = config();
        bad.chainId = bytes32(CHAIN);
        vm.expectRevert(IRegistry.BadConfig.selector);
        new Registry(bad);
        bad.chainId = Signing.littleEndian(CHAIN + 1);
        vm.expectRevert(IRegistry.BadConfig.selector);
        new Registry(bad);
    }

    // ---- Registering.

    function test_register() public {
        IRegistry.SignedRegistration[] memory regs = junk(1, 3);
        bytes32 root = registry.getRegistrationProof(regs, owner, 0, ID).registrationRoot;
        assertEq(registry.getOperatorData(root).registeredAt, 0);
        vm.deal(owner, MIN);
        vm.expectEmit(address(registry));
        emit IRegistry.OperatorRegistered(root, MIN, owner);
        vm.prank(owner, owner);
        vm.recordLogs();
        assertEq(registry.register{value: MIN}(regs, owner, ID), root);
        // From an account without code the keys are in the transaction.
        assertEq(vm.getRecordedLogs().length, 1);

        IRegistry.OperatorData memory data = registry.getOperatorData(root);
        assertEq(data.owner, owner);
        assertEq(data.collateralWei, MIN);
        assertEq(data.numKeys, 3);
        assertEq(data.registeredAt, block.timestamp);
        assertEq(data.unregisteredAt, type(uint48).max);
        assertEq(data.slashedAt, 0);
        assertFalse(data.deleted);
        assertFalse(data.equivocated);
        assertFalse(registry.isSlashed(root));
        assertEq(address(registry).balance, MIN);
        assertEq(registry.getHistoricalCollateral(root, block.timestamp), MIN);
    }

    /// Anyone may pay for another's operator; through code, an indexer finds the keys in an event.
    function test_registerThroughCode() public {
        Receiver payer = new Receiver();
        IRegistry.SignedRegistration[] memory regs = junk(1, 2);
        bytes32 root = registry.getRegistrationProof(regs, owner, 0, ID).registrationRoot;
        bytes memory call = abi.encodeCall(registry.register, (regs, owner, ID));
        vm.expectEmit(address(registry));
        emit IRegistry.CallData(root, call);
        payer.act{value: MIN}(address(registry), call, MIN);

        // An account with delegated code is code as well.
        vm.etch(stranger, hex"ef01000000000000000000000000000000000000000001");
        call = abi.encodeCall(registry.register, (junk(2, 1), owner, ID));
        root = registry.getRegistrationProof(junk(2, 1), owner, 0, ID).registrationRoot;
        vm.deal(stranger, MIN);
        vm.expectEmit(address(registry));
        emit IRegistry.CallData(root, call);
        vm.prank(stranger, stranger);
        registry.register{value: MIN}(junk(2, 1), owner, ID);

        // And so is a contract's constructor, though it has no code yet.
        call = abi.encodeCall(registry.register, (junk(3, 1), owner, ID));
        root = registry.getRegistrationProof(junk(3, 1), owner, 0, ID).registrationRoot;
        vm.expectEmit(address(registry));
        emit IRegistry.CallData(root, call);
        new InConstructor{value: MIN}(registry, junk(3, 1), owner, ID);
    }

    function test_registerRefusals() public {
        vm.deal(address(this), type(uint256).max / 2);
        vm.expectRevert(IRegistry.InsufficientCollateral.selector);
        registry.register{value: MIN - 1}(junk(1, 1), owner, ID);
        vm.expectRevert(IRegistry.CollateralOverflow.selector);
        registry.register{value: uint256(type(uint80).max) + 1}(junk(1, 1), owner, ID);
        vm.expectRevert(IRegistry.InvalidOwnerAddress.selector);
        registry.register{value: MIN}(junk(1, 1), address(0), ID);
        vm.expectRevert(IRegistry.InvalidRegistrationRoot.selector);
        registry.register{value: MIN}(junk(1, 0), owner, ID);

        registry.register{value: type(uint80).max}(junk(1, 1), owner, ID);
        vm.expectRevert(IRegistry.OperatorAlreadyRegistered.selector);
        registry.register{value: MIN}(junk(1, 1), owner, ID);
        // With another signing id it is another operator.
        registry.register{value: MIN}(junk(1, 1), owner, bytes32(0));
    }

    function testFuzz_everyKeyProvesThatItIsThere(uint256 seed, uint256 count, uint256 index) public {
        count = bound(count, 1, 20);
        index = bound(index, 0, count - 1);
        IRegistry.SignedRegistration[] memory regs = junk(seed, count);
        bytes32 root = register(regs, owner, MIN);
        IRegistry.RegistrationProof memory proof = registry.getRegistrationProof(regs, owner, index, ID);
        assertEq(proof.registrationRoot, root);
        registry.verifyMerkleProof(proof);
        assertEq(registry.getVerifiedOperatorData(proof).owner, owner);
        assertFalse(registry.verifyRegistration(proof));

        IRegistry.RegistrationProof memory other =
            abi.decode(abi.encode(proof), (IRegistry.RegistrationProof));
        other.registration.nonce += 1;
        _isNoProof(other);
        other = abi.decode(abi.encode(proof), (IRegistry.RegistrationProof));
        other.signingId = bytes32(uint256(1));
        _isNoProof(other);
        if (count > 1) {
            // Of one key the proof is the key: who owns it is not said.
            other = registry.getRegistrationProof(regs, stranger, index, ID);
            other.registrationRoot = root;
            _isNoProof(other);
            other = registry.getRegistrationProof(regs, owner, index, ID);
            other.merkleProof[0] ^= bytes32(uint256(1));
            _isNoProof(other);
        }
    }

    function _isNoProof(IRegistry.RegistrationProof memory proof) private {
        vm.expectRevert(IRegistry.InvalidProof.selector);
        registry.verifyMerkleProof(proof);
        vm.expectRevert(IRegistry.InvalidProof.selector);
        registry.getVerifiedOperatorData(proof);
        vm.expectRevert(IRegistry.InvalidProof.selector);
        registry.verifyRegistration(proof);
    }

    /// A tree over the zero address is one that anyone can make of any keys; it proves nothing.
    function test_keysOfNobodyAreNoOperators() public {
        _isNoProof(registry.getRegistrationProof(junk(1, 2), address(0), 0, ID));
    }

    function test_noProofPastTheLastKey() public {
        vm.expectRevert();
        registry.getRegistrationProof(junk(1, 3), owner, 3, ID);
    }

    // ---- Collateral.

    function test_addCollateral() public {
        bytes32 root = register(junk(1, 1), owner, MIN);
        vm.deal(stranger, 2 ether);
        vm.expectEmit(address(registry));
        emit IRegistry.CollateralAdded(root, MIN + 2 ether);
        vm.prank(stranger);
        registry.addCollateral{value: 2 ether}(root);
        assertEq(collateral(root), MIN + 2 ether);
    }

    function test_addCollateralRefusals() public {
        vm.deal(address(this), type(uint128).max);
        vm.expectRevert(IRegistry.NoCollateral.selector);
        registry.addCollateral{value: 1}(bytes32(uint256(1)));
        bytes32 root = operator(1);
        vm.expectRevert(IRegistry.InsufficientCollateral.selector);
        registry.addCollateral(root);
        uint256 room = type(uint80).max - collateral(root);
        vm.expectRevert(IRegistry.CollateralOverflow.selector);
        registry.addCollateral{value: room + 1}(root);
        registry.addCollateral{value: room}(root);
        assertEq(collateral(root), type(uint80).max);
        unregister(root);
        skip(UNREGISTER);
        registry.claimCollateral(root);
        vm.expectRevert(IRegistry.OperatorDeleted.selector);
        registry.addCollateral{value: 1}(root);
    }

    /// An operator slashed to nothing cannot come back by a stranger's wei.
    function test_noCollateralForWhomIsSlashedToNothing() public {
        bytes32 root = liable(1);
        slasher.set(type(uint128).max, rewarded, harmed);
        slash(root, 1);
        assertEq(collateral(root), 0);
        vm.deal(address(this), 1);
        vm.expectRevert(IRegistry.NoCollateral.selector);
        registry.addCollateral{value: 1}(root);
    }

    function test_historyOfNobody() public view {
        assertEq(registry.getHistoricalCollateral(bytes32(uint256(1)), block.timestamp), 0);
    }

    function test_historyBeforeRegistration() public {
        bytes32 root = register(junk(1, 1), owner, MIN);
        vm.expectRevert(IRegistry.TimestampTooOld.selector);
        registry.getHistoricalCollateral(root, block.timestamp - 1);
    }

    /// The registry's history against a list searched from its start.
    function testFuzz_history(uint16[] calldata steps, uint256 questions) public {
        bytes32 root = liable(1);
        uint256 count = steps.length < 24 ? steps.length : 24;
        uint256[] memory times = new uint256[](count + 1);
        uint256[] memory values = new uint256[](count + 1);
        (times[0], values[0]) = (registry.getOperatorData(root).registeredAt, collateral(root));
        vm.deal(address(this), type(uint128).max);
        for (uint256 i = 0; i < count; ++i) {
            // A third of the changes fall in one second with the change before.
            if (steps[i] % 3 != 0) skip(steps[i] % 1000);
            if (steps[i] % 2 == 0) {
                registry.addCollateral{value: uint256(steps[i]) + 1}(root);
            } else {
                slasher.set(steps[i], rewarded, harmed);
                slash(root, i);
            }
            (times[i + 1], values[i + 1]) = (block.timestamp, collateral(root));
        }
        for (uint256 i = 0; i <= count; ++i) {
            _agrees(root, times, values, times[i]);
            _agrees(root, times, values, times[i] + 1);
            if (times[i] > times[0]) _agrees(root, times, values, times[i] - 1);
            uint256 question = uint256(keccak256(abi.encode(questions, i)));
            _agrees(root, times, values, bound(question, times[0], block.timestamp));
        }
        assertEq(registry.getHistoricalCollateral(root, type(uint256).max), collateral(root));
    }

    function _agrees(bytes32 root, uint256[] memory times, uint256[] memory values, uint256 time)
        private
        view
    {
        uint256 expected = 0;
        for (uint256 i = 0; i < times.length; ++i) {
            if (times[i] <= time) expected = values[i];
        }
        assertEq(registry.getHistoricalCollateral(root, time), expected);
    }

    // ---- Opting in and out.

    function test_optIn() public {
        bytes32 root = operator(1);
        assertFalse(registry.isOptedIntoSlasher(root, address(slasher)));
        assertFalse(registry.isLiable(root, address(slasher)));
        vm.expectEmit(address(registry));
        emit IRegistry.OperatorOptedIn(root, address(slasher), committer);
        optIn(root);
        IRegistry.SlasherCommitment memory optedIn = registry.getSlasherCommitment(root, address(slasher));
        assertEq(optedIn.committer, committer);
        assertEq(optedIn.optedInAt, block.timestamp);
        assertEq(optedIn.optedOutAt, 0);
        assertFalse(optedIn.slashed);
        assertTrue(registry.isOptedIntoSlasher(root, address(slasher)));
        assertTrue(registry.isLiable(root, address(slasher)));
        assertFalse(registry.isLiable(root, stranger));
        assertEq(registry.operatorOf(address(slasher), committer), root);
        assertEq(registry.operatorOf(stranger, committer), 0);
    }

    function test_optInRefusals() public {
        bytes32 root = register(junk(1, 1), owner, MIN);
        vm.expectRevert(IRegistry.WrongOperator.selector);
        vm.prank(stranger);
        registry.optInToSlasher(root, address(slasher), committer);
        // Of a root that is nobody's the owner is not even the zero address.
        vm.expectRevert(IRegistry.WrongOperator.selector);
        vm.prank(stranger);
        registry.optInToSlasher(bytes32(uint256(1)), address(slasher), committer);

        skip(FRAUD - 1);
        vm.startPrank(owner);
        vm.expectRevert(IRegistry.FraudProofWindowNotMet.selector);
        registry.optInToSlasher(root, address(slasher), committer);
        skip(1);
        vm.expectRevert(IRegistry.InvalidCommitter.selector);
        registry.optInToSlasher(root, address(slasher), address(0));
        registry.optInToSlasher(root, address(slasher), committer);
        vm.expectRevert(IRegistry.AlreadyOptedIn.selector);
        registry.optInToSlasher(root, address(slasher), committer);
    }

    function test_optInAfterSlashOrUnregistration() public {
        bytes32 root = liable(1);
        slash(root, 1);
        vm.startPrank(owner);
        vm.expectRevert(IRegistry.SlashingAlreadyOccurred.selector);
        registry.optInToSlasher(root, stranger, committer);
        vm.expectRevert(IRegistry.SlashingAlreadyOccurred.selector);
        registry.optInToSlasher(root, address(slasher), committer);
        vm.stopPrank();

        root = operator(2);
        unregister(root);
        vm.expectRevert(IRegistry.OperatorAlreadyUnregistered.selector);
        vm.prank(owner);
        registry.optInToSlasher(root, address(slasher), stranger);
        skip(UNREGISTER);
        registry.claimCollateral(root);
        vm.startPrank(owner);
        vm.expectRevert(IRegistry.OperatorDeleted.selector);
        registry.optInToSlasher(root, address(slasher), stranger);
        vm.expectRevert(IRegistry.OperatorDeleted.selector);
        registry.optOutOfSlasher(root, address(slasher));
        vm.expectRevert(IRegistry.OperatorDeleted.selector);
        registry.unregister(root);
    }

    function test_optOut() public {
        bytes32 root = operator(1);
        vm.expectRevert(IRegistry.NotOptedIn.selector);
        vm.prank(owner);
        registry.optOutOfSlasher(root, address(slasher));
        optIn(root);
        vm.expectRevert(IRegistry.WrongOperator.selector);
        vm.prank(stranger);
        registry.optOutOfSlasher(root, address(slasher));
        skip(OPT_IN - 1);
        vm.expectRevert(IRegistry.OptInDelayNotMet.selector);
        vm.prank(owner);
        registry.optOutOfSlasher(root, address(slasher));
        skip(1);
        vm.expectEmit(address(registry));
        emit IRegistry.OperatorOptedOut(root, address(slasher));
        optOut(root);
        assertFalse(registry.isOptedIntoSlasher(root, address(slasher)));
        assertEq(registry.getSlasherCommitment(root, address(slasher)).optedOutAt, block.timestamp);
        vm.expectRevert(IRegistry.NotOptedIn.selector);
        vm.prank(owner);
        registry.optOutOfSlasher(root, address(slasher));

        // Liable until the slash window is over, to the second.
        skip(SLASH - 1);
        assertTrue(registry.isLiable(root, address(slasher)));
        skip(1);
        assertFalse(registry.isLiable(root, address(slasher)));
    }

    function test_optInAgain() public {
        bytes32 root = liable(1);
        skip(OPT_IN);
        optOut(root);
        skip(OPT_IN - 1);
        vm.expectRevert(IRegistry.OptInDelayNotMet.selector);
        vm.prank(owner);
        registry.optInToSlasher(root, address(slasher), committer);
        skip(1);
        optIn(root, address(slasher), stranger);
        assertEq(registry.getSlasherCommitment(root, address(slasher)).committer, stranger);
        // Both are its committers for good.
        assertEq(registry.operatorOf(address(slasher), committer), root);
        assertEq(registry.operatorOf(address(slasher), stranger), root);
        // And the first may be named again.
        skip(OPT_IN);
        optOut(root);
        skip(OPT_IN);
        optIn(root);
    }

    function test_committerOfAnother() public {
        bytes32 first = liable(1);
        bytes32 second = operator(2);
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.CommitterInUse.selector, first));
        registry.optInToSlasher(second, address(slasher), committer);
        // With another slasher its signatures are others: they name the slasher.
        registry.optInToSlasher(second, stranger, committer);
        // Not after the first has left, either.
        skip(OPT_IN);
        registry.optOutOfSlasher(first, address(slasher));
        registry.unregister(first);
        skip(UNREGISTER);
        registry.claimCollateral(first);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.CommitterInUse.selector, first));
        registry.optInToSlasher(second, address(slasher), committer);
    }

    // ---- Leaving.

    function test_leave() public {
        bytes32 root = operator(1);
        vm.expectRevert(IRegistry.NotUnregistered.selector);
        registry.claimCollateral(root);
        vm.expectRevert(IRegistry.WrongOperator.selector);
        vm.prank(stranger);
        registry.unregister(root);
        vm.expectEmit(address(registry));
        emit IRegistry.OperatorUnregistered(root);
        unregister(root);
        vm.expectRevert(IRegistry.AlreadyUnregistered.selector);
        vm.prank(owner);
        registry.unregister(root);
        skip(UNREGISTER - 1);
        vm.expectRevert(IRegistry.UnregistrationDelayNotMet.selector);
        registry.claimCollateral(root);
        vm.expectRevert(IRegistry.NotSlashed.selector);
        registry.claimSlashedCollateral(root);
        skip(1);
        vm.expectEmit(address(registry));
        emit IRegistry.CollateralClaimed(root, 5 * uint256(MIN));
        vm.prank(stranger);
        registry.claimCollateral(root);
        assertEq(owner.balance, 5 * uint256(MIN));
        assertEq(address(registry).balance, 0);
        assertTrue(registry.getOperatorData(root).deleted);
        assertEq(collateral(root), 0);
        assertEq(registry.getHistoricalCollateral(root, block.timestamp - 1), 5 * uint256(MIN));
        assertEq(registry.getHistoricalCollateral(root, block.timestamp), 0);

        vm.expectRevert(IRegistry.OperatorDeleted.selector);
        registry.claimCollateral(root);
        vm.expectRevert(IRegistry.OperatorDeleted.selector);
        registry.claimSlashedCollateral(root);
        vm.deal(address(this), MIN);
        vm.expectRevert(IRegistry.OperatorDeleted.selector);
        registry.register{value: MIN}(junk(1, 1), owner, ID);
    }

    /// Otherwise a stranger could bar a root that is about to be registered.
    function test_nobodyDeletesWhatIsNotRegistered() public {
        bytes32 root = registry.getRegistrationProof(junk(1, 1), owner, 0, ID).registrationRoot;
        vm.expectRevert(IRegistry.NotUnregistered.selector);
        registry.claimCollateral(root);
        vm.expectRevert(IRegistry.NotSlashed.selector);
        registry.claimSlashedCollateral(root);
        assertEq(register(junk(1, 1), owner, MIN), root);
    }

    function test_leaveAfterSlash() public {
        bytes32 root = liable(1);
        slash(root, 1);
        vm.expectRevert(IRegistry.SlashingAlreadyOccurred.selector);
        vm.prank(owner);
        registry.unregister(root);
        skip(SLASH - 1);
        vm.expectRevert(IRegistry.SlashWindowNotMet.selector);
        registry.claimSlashedCollateral(root);
        skip(1);
        registry.claimSlashedCollateral(root);
        assertEq(owner.balance, 4 * uint256(MIN));
        vm.expectRevert(IRegistry.OperatorDeleted.selector);
        registry.claimSlashedCollateral(root);
    }

    /// Who was slashed after it unregistered leaves by the later of the two ways.
    function test_slashWhileLeaving() public {
        bytes32 root = liable(1);
        unregister(root);
        skip(UNREGISTER - 1);
        slash(root, 1);
        skip(1);
        vm.expectRevert(IRegistry.SlashingAlreadyOccurred.selector);
        registry.claimCollateral(root);
        skip(SLASH - 1);
        registry.claimSlashedCollateral(root);
    }

    function test_ownerThatTakesNoEther() public {
        Receiver refusing = new Receiver();
        bytes32 root = register(junk(1, 1), address(refusing), MIN);
        unregister(root);
        skip(UNREGISTER);
        refusing.refuse(true);
        vm.expectRevert(IRegistry.EthTransferFailed.selector);
        registry.claimCollateral(root);
        refusing.refuse(false);
        registry.claimCollateral(root);
        assertEq(address(refusing).balance, MIN);
    }

    /// The first to register a root pays for its owner.
    function test_registeringAnothersKeysFirstIsAGift() public {
        vm.deal(stranger, MIN);
        vm.prank(stranger, stranger);
        bytes32 root = registry.register{value: MIN}(junk(1, 1), owner, ID);
        vm.expectRevert(IRegistry.WrongOperator.selector);
        vm.prank(stranger);
        registry.unregister(root);
        unregister(root);
        skip(UNREGISTER);
        registry.claimCollateral(root);
        assertEq(owner.balance, MIN);
    }
}

contract InConstructor {
    constructor(Registry registry, IRegistry.SignedRegistration[] memory regs, address owner, bytes32 id)
        payable {
        registry.register{value: msg.value}(regs, owner, id);
    }
}
