// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {ConstraintAnswer} from "../src/Evidence.sol";
import {
    ConstraintReceipt,
    OrderingCommitment,
    SignedCommitment,
    SignedConstraintReceipt,
    SignedDelegation,
    SignedDelegationReceipt
} from "../src/Objects.sol";
import {OrderingSlasher} from "../src/OrderingSlasher.sol";
import {IOrderingSlasher} from "../src/interfaces/IOrderingSlasher.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {SlasherFixture} from "./SlasherFixture.sol";

/// What is prepared once: signed commitments and answers of a few segments, rollups and slots.
struct Prepared {
    SignedCommitment judged;
    bytes evidence;
    bytes32 id;
    bytes32 key;
    /// Of MissedWindow.
    bytes batch;
    ConstraintAnswer held;
    SignedConstraintReceipt dropped;
    /// Of UnauthorizedSequencing.
    SignedDelegation delegation;
    SignedDelegationReceipt receipt;
}

/// Accuses, answers, rebuts, settles, concludes, lapses and claims in any order and at any time.
contract Accusers is SlasherFixture {
    Prepared[] private _prepared;
    address[3] private _people;

    /// What each fault was charged, and how often.
    mapping(bytes32 key => uint256) public charged;
    mapping(bytes32 key => uint256) public slashes;
    uint256 public bondsPosted;
    uint256 public claimed;
    uint256 public concluded;
    uint256 public answered;
    uint256 public settled;
    uint256 public lapsed;

    function prepare() external {
        super.setUp();
        _people = [accuser, stranger, answerer];
        for (uint256 i = 0; i < 3; ++i) {
            vm.deal(_people[i], 1000 ether);
        }
        for (uint16 segment = 0; segment < 3; ++segment) {
            OrderingCommitment memory ordering = microblock();
            ordering.segment = segment;
            Prepared storage one = _prepared.push();
            one.judged = sign(ordering);
            one.evidence = missedWindow(0);
            one.id = keccak256(abi.encode(uint8(6), committer, ROLLUP, SLOT, segment));
            one.key = keccak256(abi.encode(uint8(6), committer, ROLLUP, SLOT));
            one.batch = batch(transactions(2, 40), segment, 1);
            ConstraintAnswer memory held = answerOf(encode(l1(one.batch)));
            one.held.index = held.index;
            one.held.receipt = held.receipt;
            one.held.message.proposer = held.message.proposer;
            one.held.message.delegate = held.message.delegate;
            one.held.message.slot = held.message.slot;
            one.held.message.constraints.push(held.message.constraints[0]);
            one.dropped = sign(ConstraintReceipt(SLOT, keccak256(abi.encode(held.message)), 1, 1), relayKey);
        }
        SignedDelegation memory given = delegation(allocation());
        for (uint256 i = 0; i < 2; ++i) {
            OrderingCommitment memory ordering = microblock();
            ordering.rollupId = i == 0 ? ROLLUP : OTHER_ROLLUP;
            Prepared storage one = _prepared.push();
            one.judged = sign(ordering);
            one.evidence = unauthorized();
            one.id = keccak256(abi.encode(uint8(8), committer, ordering.rollupId, SLOT));
            one.key = one.id;
            one.delegation = given;
            one.receipt = receiptOf(given, 1);
        }
    }

    function theSlasher() external view returns (OrderingSlasher) {
        return slasher;
    }

    function ids() external view returns (bytes32[] memory list) {
        list = new bytes32[](_prepared.length);
        for (uint256 i = 0; i < list.length; ++i) {
            list[i] = _prepared[i].id;
        }
    }

    function keys() external view returns (bytes32[] memory list) {
        list = new bytes32[](_prepared.length);
        for (uint256 i = 0; i < list.length; ++i) {
            list[i] = _prepared[i].key;
        }
    }

    function people() external view returns (address[3] memory) {
        return _people;
    }

    function leftOf() external view returns (uint256) {
        return collateral();
    }

    function pick(uint256 seed) private view returns (Prepared storage) {
        return _prepared[seed % _prepared.length];
    }

    function someone(uint256 seed) private view returns (address) {
        return _people[seed % 3];
    }

    function wait(uint256 seed) external {
        skip(bound(seed, 1, 20 hours));
    }

    function doAccuse(uint256 seed, uint256 who) external {
        Prepared storage one = pick(seed);
        vm.prank(someone(who));
        try slasher.accuse{value: BOND}(root, one.judged, one.evidence) returns (bytes32 id) {
            assertEq(id, one.id);
            bondsPosted += BOND;
        } catch {}
    }

    function doRecord(uint256 seed) external {
        Prepared storage one = pick(seed);
        if (one.batch.length == 0) return;
        (bool taken,) = address(inbox).call(one.batch);
        assertTrue(taken);
    }

    function doAnswer(uint256 seed, uint256 who) external {
        Prepared storage one = pick(seed);
        vm.prank(someone(who));
        if (one.batch.length != 0) {
            try slasher.answerConstraint(one.id, one.held) {
                ++answered;
            } catch {}
        } else {
            try slasher.answerDelegation(one.id, one.delegation, one.receipt) {
                ++answered;
            } catch {}
        }
    }

    function doRebut(uint256 seed) external {
        Prepared storage one = pick(seed);
        if (one.batch.length == 0) return;
        try slasher.rebut(one.id, one.dropped) {} catch {}
    }

    function doSettle(uint256 seed) external {
        try slasher.settleAnswer(pick(seed).id) {
            ++settled;
        } catch {}
    }

    function doLapse(uint256 seed) external {
        try slasher.lapse(pick(seed).id) {
            ++lapsed;
        } catch {}
    }

    function doConclude(uint256 seed, uint256 who) external {
        Prepared storage one = pick(seed);
        vm.prank(someone(who));
        try registry.slashCommitment(root, one.judged, one.evidence) returns (uint256 amountWei) {
            charged[one.key] += amountWei;
            ++slashes[one.key];
            ++concluded;
        } catch {}
    }

    function doClaim(uint256 who) external {
        uint256 creditWei = slasher.credit(someone(who));
        vm.prank(someone(who));
        try slasher.claimCredit() {
            claimed += creditWei;
        } catch {}
    }
}

contract SlasherInvariantsTest is SlasherFixture {
    Accusers private _accusers;

    function setUp() public override {
        _accusers = new Accusers();
        _accusers.prepare();
        slasher = _accusers.theSlasher();
        bytes4[] memory selectors = new bytes4[](9);
        selectors[0] = Accusers.wait.selector;
        selectors[1] = Accusers.doAccuse.selector;
        selectors[2] = Accusers.doRecord.selector;
        selectors[3] = Accusers.doAnswer.selector;
        selectors[4] = Accusers.doRebut.selector;
        selectors[5] = Accusers.doSettle.selector;
        selectors[6] = Accusers.doLapse.selector;
        selectors[7] = Accusers.doConclude.selector;
        selectors[8] = Accusers.doClaim.selector;
        targetSelector(FuzzSelector({addr: address(_accusers), selectors: selectors}));
        targetContract(address(_accusers));
    }

    /// What the slasher holds is the open bonds and the credits, and no wei of the posted bonds is lost or made.
    /// forge-config: default.invariant.runs = 64
    /// forge-config: default.invariant.depth = 120
    function invariant_bondsAreConserved() public view {
        uint256 open = 0;
        bytes32[] memory ids = _accusers.ids();
        for (uint256 i = 0; i < ids.length; ++i) {
            IOrderingSlasher.Accusation memory accusation = slasher.getAccusation(ids[i]);
            if (
                accusation.status == IOrderingSlasher.Status.Open
                    || accusation.status == IOrderingSlasher.Status.Answered
            ) open += accusation.bondWei;
        }
        uint256 credits = 0;
        address[3] memory people = _accusers.people();
        for (uint256 i = 0; i < 3; ++i) {
            credits += slasher.credit(people[i]);
        }
        assertEq(address(slasher).balance, open + credits);
        assertEq(_accusers.bondsPosted(), open + credits + _accusers.claimed());
    }

    /// A fault costs once: its penalty in all, in one slash, or in two if the lesser half came first.
    /// forge-config: default.invariant.runs = 64
    /// forge-config: default.invariant.depth = 120
    function invariant_oneSlashForAFault() public view {
        bytes32[] memory keys = _accusers.keys();
        uint256 all = 0;
        for (uint256 i = 0; i < keys.length; ++i) {
            uint256 charged = _accusers.charged(keys[i]);
            uint256 slashes = _accusers.slashes(keys[i]);
            assertLe(charged, SAFETY);
            assertLe(slashes, 2);
            if (slashes == 1) assertTrue(charged == SAFETY || charged == LIVENESS);
            if (slashes == 2) assertEq(charged, SAFETY);
            // The three segments share the first key.
            if (i == 0 || keys[i] != keys[i - 1]) all += charged;
        }
        assertEq(_accusers.leftOf(), COLLATERAL - all);
    }

    /// The operator's collateral is locked as often as accusations are open.
    /// forge-config: default.invariant.runs = 32
    /// forge-config: default.invariant.depth = 60
    function invariant_locksAreTheOpenAccusations() public {
        uint256 open = 0;
        bytes32[] memory ids = _accusers.ids();
        IOrderingSlasher.Accusation memory last;
        for (uint256 i = 0; i < ids.length; ++i) {
            IOrderingSlasher.Accusation memory accusation = slasher.getAccusation(ids[i]);
            if (
                accusation.status == IOrderingSlasher.Status.Open
                    || accusation.status == IOrderingSlasher.Status.Answered
            ) {
                // Of the others that are older than a month, the lock ended by itself.
                if (block.timestamp >= accusation.answerUntil - ANSWER + 30 days) return;
                (open, last) = (open + 1, accusation);
            }
        }
        if (open == 0) return;
        uint256 clean = vm.snapshotState();
        IRegistry holder = slasher.REGISTRY();
        vm.startPrank(address(slasher));
        for (uint256 i = 0; i < open; ++i) {
            holder.freeCollateral(last.registrationRoot);
        }
        vm.expectRevert(IRegistry.NotLocked.selector);
        holder.freeCollateral(last.registrationRoot);
        vm.stopPrank();
        vm.revertToState(clean);
    }

    /// The calls above do what they are for; else the invariants would hold of nothing.
    function test_theAccusersGetSomewhere() public {
        _accusers.doAccuse(0, 0);
        _accusers.doAccuse(1, 1);
        _accusers.doAccuse(3, 2);
        _accusers.doAnswer(0, 2);
        _accusers.doAnswer(3, 0);
        assertEq(_accusers.answered(), 2);
        _accusers.doRebut(0);
        assertEq(_accusers.bondsPosted(), 3 * uint256(BOND));
        _accusers.wait(20 hours);
        _accusers.wait(20 hours);
        _accusers.doConclude(0, 0);
        _accusers.doConclude(1, 0);
        _accusers.doConclude(1, 0);
        _accusers.doLapse(1);
        assertEq(_accusers.concluded() + _accusers.lapsed(), 2);
        _accusers.doAccuse(2, 0);
        _accusers.doClaim(0);
        assertEq(_accusers.claimed(), 2 * uint256(BOND));
        invariant_bondsAreConserved();
        invariant_oneSlashForAFault();
        invariant_locksAreTheOpenAccusations();
    }
}
