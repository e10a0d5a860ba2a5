// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {Vm} from "forge-std/Vm.sol";
import {ConstraintAnswer} from "../src/Evidence.sol";
import {
    Commitment,
    Delegation,
    SignedAuctionResult,
    SignedCommitment,
    SignedConstraintReceipt,
    SignedDelegation,
    SignedDelegationReceipt
} from "../src/Objects.sol";
import {Registry} from "../src/Registry.sol";
import {Signing} from "../src/Signing.sol";
import {IInbox} from "../src/interfaces/IInbox.sol";
import {IOrderingSlasher} from "../src/interfaces/IOrderingSlasher.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IRollupRegistry} from "../src/interfaces/IRollupRegistry.sol";
import {ISlasher} from "../src/interfaces/ISlasher.sol";

/// The cases that the Rust judge made (`contracts/bindings/tests/schema/evidence`), judged here through the real
/// registry: the same are guilty, at the same price, and the others are innocent for the same reason.
contract EvidenceVectorsTest is Test {
    bytes32 private constant ID = keccak256("earnest.v1");
    uint80 private constant SAFETY = 16 ether;
    uint80 private constant LIVENESS = 1 ether;
    uint80 private constant MIN = 2 * SAFETY;
    uint80 private constant BOND = 0.5 ether;

    address private _owner = makeAddr("owner");
    address private _rollups = makeAddr("rollups");
    address private _inbox;
    IOrderingSlasher private _slasher;
    Registry private _registry;
    uint8 private _fault;
    uint256 private _genesis;

    struct OtherRelay {
        address relay;
        uint64 rollupId;
    }

    struct Facts {
        uint64 forcedHead;
        uint64 recordTime;
        address relay;
        OtherRelay[] relays;
        address reserveCommitter;
    }

    /// A case of the file; `time` is its `now`, which Solidity would not have.
    struct Case {
        bytes32 accusation;
        uint256 accusedAt;
        bytes answer;
        uint256 answeredAt;
        string badAnswer;
        bytes commitment;
        address committer;
        bytes delegation;
        bytes evidence;
        Facts facts;
        bool guilty;
        string name;
        uint256 time;
        string penalty;
        string reason;
        bytes rebuttal;
        uint256 rebuttedAt;
        uint64 rollupId;
        address signer;
        uint64 slot;
        string stage;
    }

    string private constant CASE_TYPE = "JsonCase(bytes32 accusation,uint256 accusedAt,bytes answer,uint256 answeredAt,"
        "string badAnswer,bytes commitment,address committer,bytes delegation,bytes evidence,JsonFacts facts,bool guilty,"
        "string name,uint256 now,string penalty,string reason,bytes rebuttal,uint256 rebuttedAt,uint64 rollupId,"
        "address signer,uint64 slot,string stage)"
        "JsonFacts(uint64 forcedHead,uint64 recordTime,address relay,JsonRelay[] relays,address reserveCommitter)"
        "JsonRelay(address relay,uint64 rollupId)";

    function test_equivocation() public {
        _judgeAll("equivocation", 1);
    }

    function test_brokenChain() public {
        _judgeAll("broken-chain", 2);
    }

    function test_postSeal() public {
        _judgeAll("post-seal", 3);
    }

    function test_omission() public {
        _judgeAll("omission", 4);
    }

    function test_atomicityBreak() public {
        _judgeAll("atomicity-break", 5);
    }

    function test_missedWindow() public {
        _judgeAll("missed-window", 6);
    }

    function test_forcedInclusionSkipped() public {
        _judgeAll("forced-inclusion-skipped", 7);
    }

    function test_unauthorizedSequencing() public {
        _judgeAll("unauthorized-sequencing", 8);
    }

    function test_allocationEquivocation() public {
        _judgeAll("allocation-equivocation", 9);
    }

    function test_misallocation() public {
        _judgeAll("misallocation", 10);
    }

    // ---- The file.

    function _judgeAll(string memory file, uint8 fault) private {
        _fault = fault;
        this.prepare(file);
        uint256 guilty = 0;
        uint256 count = 0;
        for (;; ++count) {
            uint256 clean = vm.snapshotState();
            (bool found, bool isGuilty) = this.judge(file, count);
            if (!found) break;
            if (isGuilty) ++guilty;
            vm.clearMockedCalls();
            vm.revertToState(clean);
        }
        assertGe(guilty, 10);
        assertGe(count - guilty, 10);
    }

    function _load(string memory file) private view returns (string memory) {
        return vm.readFile(string.concat("../tests/vectors/evidence/", file, ".json"));
    }

    /// Deploys what the file names. External, like the next, so that the file's copies in memory are gone afterwards.
    function prepare(string calldata file) external {
        string memory json = _load(file);
        assertEq(vm.parseJsonUint(json, ".fault"), _fault);
        _deploy(json);
    }

    /// Judges one case.
    function judge(string calldata file, uint256 index) external returns (bool found, bool guilty) {
        // A file of a megabyte takes much memory.
        vm.pauseGasMetering();
        string memory json = _load(file);
        string memory place = string.concat(".cases[", vm.toString(index), "]");
        found = vm.keyExistsJson(json, place);
        Case memory one;
        if (found) one = abi.decode(vm.parseJsonType(json, place, CASE_TYPE), (Case));
        vm.resumeGasMetering();
        if (!found) return (false, false);
        _judge(one);
        return (true, one.guilty);
    }

    function _deploy(string memory json) private {
        bytes4 fork = bytes4(vm.parseJsonBytes(json, ".genesisForkVersion"));
        uint64 genesisMs = uint64(vm.parseJsonUint(json, ".clock.genesisMs"));
        uint64 slotMs = uint64(vm.parseJsonUint(json, ".clock.slotMs"));
        _inbox = vm.parseJsonAddress(json, ".inbox");
        _slasher = IOrderingSlasher(vm.parseJsonAddress(json, ".slasher"));
        _genesis = genesisMs / 1000;
        vm.chainId(vm.parseJsonUint(json, ".chainId"));
        vm.warp(_genesis - 30 days);
        _registry = new Registry(
            IRegistry.Config({
                minCollateralWei: MIN,
                fraudProofWindow: 1 days,
                unregistrationDelay: 7 days,
                slashWindow: 7 days,
                optInDelay: 1 days,
                signingDomain: Signing.domain(fork),
                chainId: Signing.littleEndian(block.chainid)
            })
        );
        IOrderingSlasher.Config memory config = IOrderingSlasher.Config({
            safetyWei: SAFETY,
            livenessWei: LIVENESS,
            bondWei: BOND,
            answerSeconds: uint32(vm.parseJsonUint(json, ".config.answerSeconds")),
            concludeSeconds: uint32(vm.parseJsonUint(json, ".config.concludeSeconds")),
            evidenceSeconds: uint32(vm.parseJsonUint(json, ".config.evidenceSeconds")),
            constraintCutoffMs: uint32(vm.parseJsonUint(json, ".config.constraintCutoffMs"))
        });
        deployCodeTo("Inbox.sol:Inbox", abi.encode(fork), _inbox);
        deployCodeTo(
            "OrderingSlasher.sol:OrderingSlasher",
            abi.encode(_registry, _rollups, _inbox, fork, genesisMs, slotMs, config),
            address(_slasher)
        );
    }

    // ---- What L1's state says.

    function _mock(Facts memory facts) private {
        bytes4 termsAt = IRollupRegistry.termsAt.selector;
        address reserve = facts.reserveCommitter;
        vm.mockCall(_rollups, abi.encodePacked(termsAt), _terms(facts.relay, reserve));
        for (uint256 i = 0; i < facts.relays.length; ++i) {
            OtherRelay memory other = facts.relays[i];
            bytes memory call = abi.encodePacked(termsAt, uint256(other.rollupId));
            vm.mockCall(_rollups, call, _terms(other.relay, reserve));
        }
        uint64 time = facts.recordTime;
        vm.mockCall(
            _inbox,
            abi.encodePacked(IInbox.record.selector),
            abi.encode(IInbox.Record(bytes32(0), 0, time, time == 0 ? 0 : 1))
        );
        vm.mockCall(_inbox, abi.encodePacked(IInbox.forcedHeadAt.selector), abi.encode(facts.forcedHead));
    }

    function _terms(address relay, address reserve) private pure returns (bytes memory) {
        return abi.encode(
            IRollupRegistry.Terms({
                reserveWei: 0,
                reserveCommitter: reserve,
                revenueRecipient: address(0xbeef),
                relay: relay,
                inclusionShareBps: 0,
                active: true
            })
        );
    }

    // ---- The case.

    function _judge(Case memory one) private {
        _mock(one.facts);
        vm.warp(_genesis - 30 days);
        IRegistry.SignedRegistration[] memory keys = new IRegistry.SignedRegistration[](1);
        if (one.delegation.length != 0) {
            keys[0].pubkey = abi.decode(one.delegation, (SignedDelegation)).delegation.proposer;
        }
        vm.deal(_owner, 100 ether);
        vm.deal(address(this), 100 ether);
        vm.prank(_owner);
        bytes32 root = _registry.register{value: 100 ether}(keys, _owner, ID);
        IRegistry.RegistrationProof memory proof = _registry.getRegistrationProof(keys, _owner, 0, ID);
        vm.warp(_genesis - 28 days);
        vm.prank(_owner);
        _registry.optInToSlasher(
            root, address(_slasher), one.committer == address(0) ? address(1) : one.committer
        );

        bytes32 id;
        if (one.accusedAt != 0) {
            vm.warp(one.accusedAt);
            id = abi.decode(_must(one, _accusation(one, root, proof)), (bytes32));
        }
        if (one.answeredAt != 0) {
            vm.warp(one.answeredAt);
            _must(one, _answer(one, id));
        }
        if (one.rebuttedAt != 0) {
            vm.warp(one.rebuttedAt);
            _must(one, _rebuttal(one, id));
        }
        vm.warp(one.time);
        _last(one, id, root, proof);
    }

    /// The call that the case is about, and what becomes of it.
    function _last(Case memory one, bytes32 id, bytes32 root, IRegistry.RegistrationProof memory proof)
        private
    {
        bytes32 stage = keccak256(bytes(one.stage));
        vm.recordLogs();
        bool taken;
        bytes memory said;
        if (stage == keccak256("accuse")) {
            (taken, said) = _call(address(_slasher), BOND, _accusation(one, root, proof));
        } else if (stage == keccak256("answer")) {
            (taken, said) = _call(address(_slasher), 0, _answer(one, id));
        } else if (stage == keccak256("rebut")) {
            (taken, said) = _call(address(_slasher), 0, _rebuttal(one, id));
        } else if (one.commitment.length != 0 && _namesAnother(one)) {
            // The registry would ask the other slasher.
            vm.prank(address(_registry));
            (taken, said) = _call(address(_slasher), 0, _slashDirectly(one));
        } else {
            (taken, said) = _call(address(_registry), 0, _slash(one, root, proof));
        }
        assertEq(taken, bytes(one.reason).length == 0, string.concat(one.name, ": ", vm.toString(said)));
        assertEq(one.guilty, (stage == keccak256("answer")) != taken, one.name);
        if (!taken) {
            assertEq(bytes4(said), _selector(one.reason), one.name);
            if (bytes4(said) == IOrderingSlasher.BadAnswer.selector) {
                assertEq(
                    keccak256(said),
                    keccak256(abi.encodeWithSelector(IOrderingSlasher.BadAnswer.selector, one.badAnswer)),
                    one.name
                );
            }
            return;
        }
        if (stage == keccak256("accuse")) {
            if (one.accusation != 0) assertEq(abi.decode(said, (bytes32)), one.accusation, one.name);
        }
        if (stage == keccak256("judge") || stage == keccak256("conclude")) {
            _slashed(one, abi.decode(said, (uint256)));
        }
    }

    function _slashed(Case memory one, uint256 amountWei) private {
        bytes32 penalty = keccak256(bytes(one.penalty));
        if (_fault == 9) {
            // The registry's own: there is one price.
            assertEq(amountWei, MIN, one.name);
            return;
        }
        assertEq(amountWei, penalty == keccak256("safety") ? SAFETY : LIVENESS, one.name);
        assertTrue(penalty == keccak256("safety") || penalty == keccak256("liveness"), one.name);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        bool found;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IOrderingSlasher.FaultJudged.selector) continue;
            found = true;
            assertEq(uint256(logs[i].topics[1]), _fault, one.name);
            assertEq(logs[i].topics[2], bytes32(uint256(uint160(one.signer))), one.name);
            assertEq(uint256(logs[i].topics[3]), one.rollupId, one.name);
            assertEq(logs[i].data, abi.encode(one.slot, amountWei), one.name);
        }
        assertTrue(found, one.name);
        assertTrue(_slasher.wasJudged(one.signer, one.rollupId, one.slot, _fault), one.name);
    }

    function _must(Case memory one, bytes memory call) private returns (bytes memory) {
        uint256 value = bytes4(call) == IOrderingSlasher.accuse.selector
            || bytes4(call) == IOrderingSlasher.accuseDelegation.selector
            ? BOND
            : 0;
        (bool taken, bytes memory said) = _call(address(_slasher), value, call);
        assertTrue(taken, string.concat(one.name, ", before: ", vm.toString(said)));
        return said;
    }

    function _call(address to, uint256 value, bytes memory data) private returns (bool, bytes memory) {
        return to.call{value: value}(data);
    }

    function _accusation(Case memory one, bytes32 root, IRegistry.RegistrationProof memory proof)
        private
        pure
        returns (bytes memory)
    {
        if (one.delegation.length != 0) {
            SignedDelegation memory given = abi.decode(one.delegation, (SignedDelegation));
            return abi.encodeCall(IOrderingSlasher.accuseDelegation, (proof, given));
        }
        SignedCommitment memory judged = abi.decode(one.commitment, (SignedCommitment));
        return abi.encodeCall(IOrderingSlasher.accuse, (root, judged, one.evidence));
    }

    function _answer(Case memory one, bytes32 id) private view returns (bytes memory) {
        if (_fault == 6) {
            ConstraintAnswer memory answer = abi.decode(one.answer, (ConstraintAnswer));
            return abi.encodeCall(IOrderingSlasher.answerConstraint, (id, answer));
        }
        if (_fault == 8) {
            (SignedDelegation memory given, SignedDelegationReceipt memory receipt) =
                abi.decode(one.answer, (SignedDelegation, SignedDelegationReceipt));
            return abi.encodeCall(IOrderingSlasher.answerDelegation, (id, given, receipt));
        }
        (SignedDelegation memory delegation, SignedAuctionResult memory result) =
            abi.decode(one.answer, (SignedDelegation, SignedAuctionResult));
        return abi.encodeCall(IOrderingSlasher.answerResult, (id, delegation, result));
    }

    function _rebuttal(Case memory one, bytes32 id) private pure returns (bytes memory) {
        SignedConstraintReceipt memory dropped = abi.decode(one.rebuttal, (SignedConstraintReceipt));
        return abi.encodeCall(IOrderingSlasher.rebut, (id, dropped));
    }

    function _slash(Case memory one, bytes32 root, IRegistry.RegistrationProof memory proof)
        private
        view
        returns (bytes memory)
    {
        if (_fault == 9) {
            SignedDelegation memory first = abi.decode(one.delegation, (SignedDelegation));
            SignedDelegation memory second = abi.decode(one.evidence, (SignedDelegation));
            return abi.encodeCall(IRegistry.slashEquivocation, (proof, first, second));
        }
        if (_fault == 10) {
            SignedDelegation memory given = abi.decode(one.delegation, (SignedDelegation));
            return abi.encodeCall(IRegistry.slashDelegation, (proof, given, address(_slasher), one.evidence));
        }
        SignedCommitment memory judged = abi.decode(one.commitment, (SignedCommitment));
        return abi.encodeWithSignature(
            "slashCommitment(bytes32,((uint64,bytes,bytes32,address),uint64,bytes32,bytes),bytes)",
            root,
            judged,
            one.evidence
        );
    }

    function _namesAnother(Case memory one) private view returns (bool) {
        return abi.decode(one.commitment, (SignedCommitment)).commitment.slasher != address(_slasher);
    }

    function _slashDirectly(Case memory one) private view returns (bytes memory) {
        Delegation memory none;
        Commitment memory judged = abi.decode(one.commitment, (SignedCommitment)).commitment;
        return abi.encodeCall(ISlasher.slash, (none, judged, one.committer, one.evidence, address(this)));
    }

    /// Errors with arguments; the others have none.
    function _selector(string memory name) private pure returns (bytes4) {
        bytes32 hash = keccak256(bytes(name));
        if (hash == keccak256("UnknownFault")) return IOrderingSlasher.UnknownFault.selector;
        if (hash == keccak256("OtherSlasher")) return IOrderingSlasher.OtherSlasher.selector;
        if (hash == keccak256("OtherSigner")) return IOrderingSlasher.OtherSigner.selector;
        if (hash == keccak256("TooEarly")) return IOrderingSlasher.TooEarly.selector;
        if (hash == keccak256("TooLate")) return IOrderingSlasher.TooLate.selector;
        if (hash == keccak256("WrongStatus")) return IOrderingSlasher.WrongStatus.selector;
        if (hash == keccak256("BadAnswer")) return IOrderingSlasher.BadAnswer.selector;
        return bytes4(keccak256(abi.encodePacked(name, "()")));
    }
}
