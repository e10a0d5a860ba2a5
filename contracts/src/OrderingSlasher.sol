// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {
    ATOMICITY_BREAK,
    BROKEN_CHAIN,
    ConstraintAnswer,
    EQUIVOCATION,
    FORCED_INCLUSION_SKIPPED,
    MISALLOCATION,
    MISSED_WINDOW,
    OMISSION,
    POST_SEAL,
    UNAUTHORIZED_SEQUENCING,
    AtomicityEvidence,
    BrokenChainEvidence,
    EquivocationEvidence,
    OmissionEvidence,
    PostSealEvidence
} from "./Evidence.sol";
import {
    Commitment,
    Delegation,
    Leg,
    OrderingCommitment,
    SignedAuctionResult,
    SignedCommitment,
    SignedConstraintReceipt,
    SignedDelegation,
    SignedDelegationReceipt
} from "./Objects.sol";
import {Signing} from "./Signing.sol";
import {SlotClock} from "./SlotClock.sol";
import {IInbox} from "./interfaces/IInbox.sol";
import {IOrderingSlasher} from "./interfaces/IOrderingSlasher.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRollupRegistry} from "./interfaces/IRollupRegistry.sol";
import {IDelegationSlasher, ISlashBeneficiaries, ISlasher} from "./interfaces/ISlasher.sol";
import {AnswerJudge} from "./judge/AnswerJudge.sol";
import {Canonical} from "./judge/Canonical.sol";
import {Orderings} from "./judge/Orderings.sol";
import {Positions} from "./judge/Positions.sol";

/// @title Judge of ordering commitments and allocations (design §8)
/// @notice What a fault is, is said in `judge/`; here is who may show it, when, how often, and what follows. Everybody
/// else is paid by the registry; only bonds are held here.
/// @dev External calls go to contracts fixed at deployment, none of which calls strangers in turn, but for
/// `claimCredit`, which pays last. State is written before every call that writes.
contract OrderingSlasher is IOrderingSlasher, ISlasher, IDelegationSlasher, ISlashBeneficiaries, SlotClock {
    /// @dev A judged fault, and where it is counted.
    struct Fault {
        uint8 kind;
        /// Zero for a delegation: it is of several.
        uint64 rollupId;
        uint64 slot;
        uint16 segment;
        /// Hash of the ordering or bundle, or of the delegation.
        bytes32 judged;
        /// Of a delegation, the operator whose key signed: the key may be registered with several. Else zero: a
        /// committer is only ever one operator's.
        bytes32 operator;
    }

    /// @dev An answer to MissedWindow, or the bottom below the first: no constraints, and the accuser.
    struct Answer {
        bytes32 constraintsHash;
        address answerer;
    }

    /// @notice The registry's: locks of collateral end at the latest so long after the last, seconds.
    uint256 public constant MAX_LOCK = 30 days;
    /// @notice Records in blocks of so many slots after n still count (design §4).
    uint64 public constant LATE_SLOTS = 64;
    /// @notice A forced item is due for n if queued in a block of a slot so far before n (design §4).
    uint64 public constant DUE_SLOTS = 96;

    IRegistry public immutable REGISTRY;
    IRollupRegistry public immutable ROLLUPS;
    IInbox public immutable INBOX;
    /// @notice Judges the answers.
    AnswerJudge public immutable ANSWER_JUDGE;
    /// @notice Domain of every signature that counts here.
    bytes32 public immutable SIGNING_DOMAIN;

    /// @dev Hash of the delegation that is all zero.
    bytes32 private immutable _NO_DELEGATION;
    uint80 private immutable _SAFETY_WEI;
    uint80 private immutable _LIVENESS_WEI;
    uint80 private immutable _BOND_WEI;
    uint32 private immutable _ANSWER_SECONDS;
    uint32 private immutable _CONCLUDE_SECONDS;
    uint32 private immutable _EVIDENCE_SECONDS;
    uint32 private immutable _CONSTRAINT_CUTOFF_MS;

    /// @dev What each (fault, signer, rollup, slot) cost so far.
    mapping(bytes32 key => uint256 chargedWei) private _charged;
    mapping(bytes32 id => Accusation) private _accusations;
    /// @dev What stands below an answer by constraints, should those turn out to be dropped. There once it was given.
    mapping(bytes32 id => mapping(bytes32 constraintsHash => Answer)) private _below;
    /// @dev Constraints that a relay is known to have dropped.
    mapping(address relay => mapping(bytes32 constraintsHash => bool)) private _dropped;
    mapping(address account => uint256 creditWei) private _credit;

    /// @dev For the registry, which asks in the same transaction.
    address private transient _rewarded;
    address private transient _harmed;

    modifier onlyRegistry() {
        if (msg.sender != address(REGISTRY)) revert NotRegistry();
        _;
    }

    /// @param registry its times must leave room for the evidence's, and its network be this one
    /// @param genesisForkVersion the consensus layer's fork version at genesis
    /// @param genesisMs when slot 0 starts, Unix milliseconds
    /// @param slotMs length of a slot, milliseconds
    constructor(
        IRegistry registry,
        IRollupRegistry rollupRegistry,
        IInbox inbox,
        bytes4 genesisForkVersion,
        uint64 genesisMs,
        uint64 slotMs,
        Config memory config
    ) SlotClock(genesisMs, slotMs) {
        bytes32 domain = Signing.domain(genesisForkVersion);
        IRegistry.Config memory theirs = registry.getConfig();
        // Half at least of what an operator has a slasher of its own take is burnt (the registry's shares): with twice the
        // penalty at stake that costs no less than the penalty, so slashing oneself first saves nothing.
        // An operator that misbehaves and leaves at once is still liable when the evidence comes, and is kept by the
        // lock while an accusation runs: answer, rebuttal, the late slots, conclusion.
        uint256 longest =
            2 * uint256(config.answerSeconds) + config.concludeSeconds + uint256(LATE_SLOTS) * slotMs / 1000;
        if (
            config.livenessWei == 0 || config.safetyWei < config.livenessWei || config.bondWei == 0
                || config.answerSeconds == 0 || config.concludeSeconds == 0 || config.evidenceSeconds == 0
                || longest >= MAX_LOCK || theirs.slashWindow < config.evidenceSeconds
                || theirs.unregistrationDelay < config.evidenceSeconds || theirs.signingDomain != domain
                || theirs.minCollateralWei < 2 * uint256(config.safetyWei)
        ) revert BadConfig();

        (REGISTRY, ROLLUPS, INBOX, SIGNING_DOMAIN) = (registry, rollupRegistry, inbox, domain);
        ANSWER_JUDGE = new AnswerJudge(
            registry, rollupRegistry, address(inbox), domain, genesisMs, slotMs, config.constraintCutoffMs
        );
        Delegation memory none;
        _NO_DELEGATION = keccak256(abi.encode(none));
        _SAFETY_WEI = config.safetyWei;
        _LIVENESS_WEI = config.livenessWei;
        _BOND_WEI = config.bondWei;
        _ANSWER_SECONDS = config.answerSeconds;
        _CONCLUDE_SECONDS = config.concludeSeconds;
        _EVIDENCE_SECONDS = config.evidenceSeconds;
        _CONSTRAINT_CUTOFF_MS = config.constraintCutoffMs;
    }

    // ---- The registry's calls.

    /// @inheritdoc ISlasher
    function slash(
        Delegation calldata delegation,
        Commitment calldata commitment,
        address committer,
        bytes calldata evidence,
        address challenger
    ) external onlyRegistry returns (uint256 slashAmountWei) {
        if (Signing.delegationHash(delegation) != _NO_DELEGATION) {
            revert DelegationNotEmpty();
        }
        Fault memory fault = _judge(commitment, committer, evidence);
        address rewarded = challenger;
        if (_isAnswerable(fault.kind)) {
            // The terms of a slot that was far ahead may have come after the accusation.
            _refuseReserve(fault, committer);
            (slashAmountWei, rewarded) = _conclude(_idOf(fault, committer), fault, committer);
        } else {
            slashAmountWei = _charge(fault, committer);
        }
        (_rewarded, _harmed) = (rewarded, _termsOf(fault).revenueRecipient);
    }

    /// @inheritdoc IDelegationSlasher
    function slashDelegation(
        bytes32 registrationRoot,
        Delegation calldata delegation,
        bytes calldata evidence,
        address
    ) external onlyRegistry returns (uint256 slashAmountWei) {
        _misallocationOnly(evidence);
        bytes32 judged = Signing.delegationHash(delegation);
        Fault memory fault = Fault(MISALLOCATION, 0, delegation.slot, 0, judged, registrationRoot);
        (slashAmountWei, _rewarded) = _conclude(_idOf(fault), fault, Orderings.proposerOf(delegation));
        _harmed = address(0);
    }

    /// @inheritdoc ISlashBeneficiaries
    function beneficiaries() external view returns (address rewarded, address harmed) {
        return (_rewarded, _harmed);
    }

    // ---- Accusations.

    /// @inheritdoc IOrderingSlasher
    function accuse(bytes32 registrationRoot, SignedCommitment calldata commitment, bytes calldata evidence)
        external
        payable
        returns (bytes32 accusation)
    {
        address committer = Orderings.recover(commitment, SIGNING_DOMAIN);
        (uint8 kind,) = Canonical.evidence(evidence);
        if (!_isAnswerable(kind)) revert UnknownFault(kind);
        Fault memory fault = _judge(commitment.commitment, committer, evidence);
        if (registrationRoot == 0 || REGISTRY.operatorOf(address(this), committer) != registrationRoot) {
            revert NotOperator();
        }
        _accusable(fault, committer);
        accusation = _idOf(fault, committer);
        _open(accusation, registrationRoot, fault, committer);
    }

    /// @inheritdoc IOrderingSlasher
    function accuseDelegation(
        IRegistry.RegistrationProof calldata proof,
        SignedDelegation calldata delegation
    ) external payable returns (bytes32 accusation) {
        (bytes32 judged, address signer) = abi.decode(_askJudge(), (bytes32, address));
        bytes32 operator = proof.registrationRoot;
        Fault memory fault = Fault(MISALLOCATION, 0, delegation.delegation.slot, 0, judged, operator);
        _accusable(fault, signer);
        accusation = _idOf(fault);
        _open(accusation, operator, fault, signer);
    }

    /// @inheritdoc IOrderingSlasher
    function answerConstraint(bytes32 accusation, ConstraintAnswer calldata) external {
        Accusation storage open = _answerable(accusation, MISSED_WINDOW);
        (address relay, bytes32 constraintsHash) = abi.decode(_askJudge(), (address, bytes32));
        if (_dropped[relay][constraintsHash]) revert BadAnswer("dropped");
        Answer storage below = _below[accusation][constraintsHash];
        if (below.answerer != address(0)) revert WrongStatus(Status.Answered);
        bool first = open.status == Status.Open;
        (below.constraintsHash, below.answerer) = (open.constraintsHash, first ? open.accuser : open.answerer);
        uint48 until = uint48(block.timestamp + _ANSWER_SECONDS);
        open.status = Status.Answered;
        open.answerer = msg.sender;
        open.deadline = until;
        open.constraintsHash = constraintsHash;
        emit AccusationAnswered(accusation, msg.sender, until);
    }

    /// @inheritdoc IOrderingSlasher
    function rebut(bytes32 accusation, SignedConstraintReceipt calldata) external {
        Accusation storage open = _accusations[accusation];
        if (open.status != Status.Answered) revert WrongStatus(open.status);
        if (block.timestamp > open.deadline) revert TooLate(open.deadline);
        address relay = abi.decode(_askJudge(), (address));
        bytes32 constraintsHash = open.constraintsHash;
        _dropped[relay][constraintsHash] = true;
        Answer storage below = _below[accusation][constraintsHash];
        open.constraintsHash = below.constraintsHash;
        if (below.constraintsHash != 0) {
            open.answerer = below.answerer;
        } else {
            // What is left of the time to answer is left; if it is over, the accusation is ripe from now on.
            uint48 over = uint48(block.timestamp - 1);
            open.status = Status.Open;
            open.answerer = address(0);
            open.deadline = open.answerUntil > over ? open.answerUntil : over;
        }
        emit AnswerRebutted(accusation, msg.sender);
    }

    /// @inheritdoc IOrderingSlasher
    function settleAnswer(bytes32 accusation) external {
        Accusation storage open = _accusations[accusation];
        if (open.status != Status.Answered) revert WrongStatus(open.status);
        if (block.timestamp <= open.deadline) revert TooEarly(open.deadline);
        _close(accusation, open.answerer);
    }

    /// @inheritdoc IOrderingSlasher
    function answerDelegation(bytes32 accusation, SignedDelegation calldata, SignedDelegationReceipt calldata)
        external
    {
        _answerForGood(accusation, UNAUTHORIZED_SEQUENCING);
    }

    /// @inheritdoc IOrderingSlasher
    function answerResult(bytes32 accusation, SignedDelegation calldata, SignedAuctionResult calldata)
        external
    {
        _answerForGood(accusation, MISALLOCATION);
    }

    /// @inheritdoc IOrderingSlasher
    function lapse(bytes32 accusation) external {
        Accusation storage open = _accusations[accusation];
        if (open.status != Status.Open) revert WrongStatus(open.status);
        uint256 until = _ripeAfter(open) + _CONCLUDE_SECONDS;
        if (block.timestamp <= until) {
            // Nothing can follow from it any more.
            Fault memory fault = _faultOf(open);
            if (_charged[_keyOf(fault, open.signer)] < _penalty(fault, open.signer)) {
                revert TooEarly(until);
            }
        }
        _close(accusation, open.accuser);
    }

    /// @inheritdoc IOrderingSlasher
    function claimCredit() external {
        uint256 amountWei = _credit[msg.sender];
        if (amountWei == 0) revert NoCredit();
        _credit[msg.sender] = 0;
        // The receiver may do what it likes: its credit is spent. What it returns is not read.
        (bool sent,) = msg.sender.call{value: amountWei}("");
        if (!sent) revert EthTransferFailed();
    }

    // ---- Views.

    /// @inheritdoc IOrderingSlasher
    function check(SignedCommitment calldata commitment, bytes calldata evidence)
        external
        view
        returns (uint8 fault, address signer, uint64 rollupId, uint64 slot)
    {
        signer = Orderings.recover(commitment, SIGNING_DOMAIN);
        if (signer == address(0)) revert OtherSigner(signer);
        Fault memory found = _judge(commitment.commitment, signer, evidence);
        _accusable(found, signer);
        return (found.kind, signer, found.rollupId, found.slot);
    }

    /// @inheritdoc IOrderingSlasher
    function credit(address account) external view returns (uint256) {
        return _credit[account];
    }

    /// @inheritdoc IOrderingSlasher
    function getAccusation(bytes32 accusation) external view returns (Accusation memory) {
        return _accusations[accusation];
    }

    /// @inheritdoc IOrderingSlasher
    function getConfig() external view returns (Config memory) {
        return Config({
            safetyWei: _SAFETY_WEI,
            livenessWei: _LIVENESS_WEI,
            bondWei: _BOND_WEI,
            answerSeconds: _ANSWER_SECONDS,
            concludeSeconds: _CONCLUDE_SECONDS,
            evidenceSeconds: _EVIDENCE_SECONDS,
            constraintCutoffMs: _CONSTRAINT_CUTOFF_MS
        });
    }

    /// @inheritdoc IOrderingSlasher
    function wasJudged(address signer, uint64 rollupId, uint64 slot, uint8 fault)
        external
        view
        returns (bool)
    {
        return _charged[_keyOf(Fault(fault, rollupId, slot, 0, 0, 0), signer)] != 0;
    }

    // ---- Judging.

    /// @dev What the evidence shows of a commitment, and where it is counted. Whether it was judged before, or needs an
    /// accusation, which must have been brought in time, is not looked at.
    function _judge(Commitment calldata commitment, address committer, bytes calldata evidence)
        private
        view
        returns (Fault memory)
    {
        (uint8 kind, bytes calldata detail) = Canonical.evidence(evidence);
        uint256 pos = Canonical.check(kind, detail);
        if (commitment.slasher != address(this)) revert OtherSlasher(commitment.slasher);
        Orderings.Signer memory signer = Orderings.Signer(committer, SIGNING_DOMAIN);
        if (kind == ATOMICITY_BREAK) {
            AtomicityEvidence calldata shown;
            assembly ("memory-safe") {
                shown := pos
            }
            Leg memory leg = Orderings.readLeg(commitment, shown.leg);
            _inTime(leg.slot);
            Positions.atomicityBreak(leg, shown, signer);
            return _ofLeg(kind, leg, commitment);
        }
        if (kind == MISSED_WINDOW && commitment.commitmentType == Orderings.BUNDLE) {
            return _ofLeg(kind, Orderings.readLeg(commitment, _legAt(pos)), commitment);
        }
        OrderingCommitment memory ordering = Orderings.read(commitment);
        if (!_isAnswerable(kind)) _inTime(ordering.slot);
        if (kind == EQUIVOCATION) {
            EquivocationEvidence calldata shown;
            assembly ("memory-safe") {
                shown := pos
            }
            Orderings.equivocation(commitment, ordering, shown, signer);
        } else if (kind == BROKEN_CHAIN) {
            BrokenChainEvidence calldata shown;
            assembly ("memory-safe") {
                shown := pos
            }
            Orderings.brokenChain(ordering, shown, signer);
        } else if (kind == POST_SEAL) {
            PostSealEvidence calldata shown;
            assembly ("memory-safe") {
                shown := pos
            }
            Orderings.postSeal(ordering, shown, signer);
        } else if (kind == OMISSION) {
            OmissionEvidence calldata shown;
            assembly ("memory-safe") {
                shown := pos
            }
            Positions.omission(ordering, shown, signer);
        } else if (kind == FORCED_INCLUSION_SKIPPED) {
            _forcedInclusionSkipped(ordering);
        } else if (kind == MISSED_WINDOW && _legAt(pos) != 0) {
            revert NoSuchLeg();
        }
        // What else there is against the others, an accusation shows.
        bytes32 judged = keccak256(commitment.payload);
        return Fault(kind, ordering.rollupId, ordering.slot, ordering.segment, judged, 0);
    }

    /// @dev The only word of `MissedWindowEvidence`.
    function _legAt(uint256 pos) private pure returns (uint256 leg) {
        assembly ("memory-safe") {
            leg := calldataload(pos)
        }
    }

    function _ofLeg(uint8 kind, Leg memory leg, Commitment calldata commitment)
        private
        pure
        returns (Fault memory)
    {
        return Fault(kind, leg.rollupId, leg.slot, leg.segment, keccak256(commitment.payload), 0);
    }

    function _misallocationOnly(bytes calldata evidence) private pure {
        (uint8 kind, bytes calldata detail) = Canonical.evidence(evidence);
        if (kind != MISALLOCATION) revert UnknownFault(kind);
        Canonical.none(detail);
    }

    /// @dev Every ordering of a window has the head of its forced inclusions, and everything queued by slot n − 96 is due. Of
    /// all of them, since L1 shows seals alone.
    function _forcedInclusionSkipped(OrderingCommitment memory ordering) private view {
        if (ordering.slot < DUE_SLOTS) revert NothingSkipped();
        // Slots far ahead are past what a timestamp holds; nothing is queued there.
        uint256 until = _startOf(ordering.slot - DUE_SLOTS);
        if (until > block.timestamp) until = block.timestamp;
        if (INBOX.forcedHeadAt(ordering.rollupId, uint64(until)) <= ordering.forcedInclusionHead) {
            revert NothingSkipped();
        }
    }

    /// @dev What must hold for evidence to be brought now. Faults that can be answered have to be ripe for it, too.
    function _accusable(Fault memory fault, address signer) private view {
        uint256 start = _startOf(fault.slot);
        bool missed = fault.kind == MISSED_WINDOW;
        if (missed && block.timestamp <= start) revert TooEarly(start);
        _inTime(fault.slot);
        if (missed) {
            uint256 recorded = _recordedAt(fault, signer);
            if (recorded != 0 && recorded <= start) revert RecordedInTime();
        }
        _refuseReserve(fault, signer);
        if (_charged[_keyOf(fault, signer)] >= _penalty(fault, signer)) revert AlreadyJudged();
    }

    /// @dev Evidence counts until some days after slot n.
    function _inTime(uint64 slot) private view {
        uint256 until = _startOf(slot) + _EVIDENCE_SECONDS;
        if (block.timestamp > until) revert TooLate(until);
    }

    /// @dev When a slot starts, whole seconds: a block's time is after this if, and only if, it is after the start.
    function _startOf(uint64 slot) private view returns (uint256) {
        return slotStartMs(slot) / 1000;
    }

    /// @dev When the last slot starts in which a record still counts, whole seconds.
    function _lastOf(uint64 slot) private view returns (uint256) {
        return (slotStartMs(slot) + uint256(LATE_SLOTS) * SLOT_MS) / 1000;
    }

    /// @dev The reserve committer needs no delegation.
    function _refuseReserve(Fault memory fault, address signer) private view {
        if (fault.kind == UNAUTHORIZED_SEQUENCING && _termsOf(fault).reserveCommitter == signer) {
            revert ReserveCommitter();
        }
    }

    function _termsOf(Fault memory fault) private view returns (IRollupRegistry.Terms memory) {
        return ROLLUPS.termsAt(fault.rollupId, fault.slot);
    }

    /// @dev What a fault costs in all, as far as can be said now: a window missed by a few slots costs less.
    function _penalty(Fault memory fault, address signer) private view returns (uint256) {
        if (fault.kind != MISSED_WINDOW) return _SAFETY_WEI;
        uint256 recorded = _recordedAt(fault, signer);
        bool late = recorded != 0 && recorded <= _lastOf(fault.slot);
        return late ? _LIVENESS_WEI : _SAFETY_WEI;
    }

    function _recordedAt(Fault memory fault, address signer) private view returns (uint256) {
        return INBOX.record(fault.rollupId, fault.slot, fault.segment, signer).time;
    }

    /// @dev Counts a fault, once per (signer, rollup, slot, fault). Of two segments missed in one window, one late and one
    /// never recorded, either may be judged first: the second time only what is missing to the higher penalty is due,
    /// so that one's own accusation for the lesser is no shield.
    function _charge(Fault memory fault, address signer) private returns (uint256 dueWei) {
        bytes32 key = _keyOf(fault, signer);
        uint256 penaltyWei = _penalty(fault, signer);
        uint256 chargedWei = _charged[key];
        if (chargedWei >= penaltyWei) revert AlreadyJudged();
        _charged[key] = penaltyWei;
        // Of a delegation, for whoever asks without naming the operator.
        if (fault.operator != 0) {
            fault.operator = 0;
            _charged[_keyOf(fault, signer)] = penaltyWei;
        }
        dueWei = penaltyWei - chargedWei;
        emit FaultJudged(fault.kind, signer, fault.rollupId, fault.slot, dueWei);
    }

    // ---- The life of an accusation.

    function _open(bytes32 id, bytes32 registrationRoot, Fault memory fault, address signer) private {
        if (msg.value != _BOND_WEI) revert WrongBond(_BOND_WEI);
        Accusation storage open = _accusations[id];
        // One that nobody concluded may be brought again; one that was answered may not.
        bool lapsed = open.status == Status.Closed && open.answerer == address(0);
        if (open.status != Status.None && !lapsed) revert AlreadyAccused();
        uint48 deadline = uint48(block.timestamp + _ANSWER_SECONDS);
        // There is no answer yet, nor is one left from before.
        (open.accuser, open.bondWei, open.status, open.fault) =
        (msg.sender, _BOND_WEI, Status.Open, fault.kind);
        (open.deadline, open.answerUntil) = (deadline, deadline);
        (open.registrationRoot, open.judged) = (registrationRoot, fault.judged);
        (open.signer, open.rollupId, open.segment, open.slot) =
        (signer, fault.rollupId, fault.segment, fault.slot);
        emit Accused(id, registrationRoot, msg.sender, fault.kind, fault.rollupId, fault.slot, deadline);
        REGISTRY.lockCollateral(registrationRoot);
    }

    /// @dev An accusation that can be answered, and for which the answer is. It can be answered again: a stranger's answer
    /// that falls must not have kept the accused from giving a better one.
    function _answerable(bytes32 id, uint8 kind) private view returns (Accusation storage open) {
        open = _accusations[id];
        if (open.status != Status.Open && open.status != Status.Answered) revert WrongStatus(open.status);
        if (open.fault != kind) revert BadAnswer("fault");
        if (block.timestamp > open.answerUntil) revert TooLate(open.answerUntil);
    }

    /// @dev An answer that nothing can be said against ends the accusation at once.
    function _answerForGood(bytes32 id, uint8 kind) private {
        Accusation storage open = _answerable(id, kind);
        _askJudge();
        open.answerer = msg.sender;
        emit AccusationAnswered(id, msg.sender, 0);
        _close(id, msg.sender);
    }

    /// @dev Passes this very call on to the other judge; reverts as it does.
    function _askJudge() private returns (bytes memory said) {
        bool holds;
        // The judge was made here, and what it returns is short.
        (holds, said) = address(ANSWER_JUDGE).call(msg.data);
        if (!holds) {
            assembly ("memory-safe") {
                revert(add(said, 0x20), mload(said))
            }
        }
    }

    /// @dev Counts the fault of an accusation that stands unanswered, and ends it.
    function _conclude(bytes32 id, Fault memory fault, address signer)
        private
        returns (uint256 dueWei, address accuser)
    {
        Accusation storage open = _accusations[id];
        if (open.status != Status.Open) revert NotAccused();
        if (block.timestamp <= open.deadline) revert NotAccused();
        uint256 ripe = _ripeAfter(open);
        if (block.timestamp <= ripe) revert TooEarly(ripe);
        uint256 until = ripe + _CONCLUDE_SECONDS;
        if (block.timestamp > until) revert TooLate(until);
        accuser = open.accuser;
        dueWei = _charge(fault, signer);
        _close(id, accuser);
    }

    /// @dev After what time an open accusation can be concluded, seconds. Whether a window was missed by a few slots or for
    /// good is known only after the late slots.
    function _ripeAfter(Accusation storage open) private view returns (uint256 ripe) {
        ripe = open.deadline;
        if (open.fault == MISSED_WINDOW) {
            uint256 last = _lastOf(open.slot);
            if (last > ripe) ripe = last;
        }
    }

    function _close(bytes32 id, address bondTo) private {
        Accusation storage open = _accusations[id];
        open.status = Status.Closed;
        uint256 bondWei = open.bondWei;
        _credit[bondTo] += bondWei;
        emit AccusationClosed(id, bondTo, bondWei);
        // A lock that ended by time is not there to be freed: what could be is a later accusation's.
        if (block.timestamp < uint256(open.answerUntil) - _ANSWER_SECONDS + MAX_LOCK) {
            REGISTRY.freeCollateral(open.registrationRoot);
        }
    }

    // ---- Keys.

    function _isAnswerable(uint8 kind) private pure returns (bool) {
        return kind == MISSED_WINDOW || kind == UNAUTHORIZED_SEQUENCING;
    }

    /// @dev One accusation of a window's segment, of a window, or of an operator for a delegation.
    function _idOf(Fault memory fault, address signer) private pure returns (bytes32) {
        bytes memory place = abi.encode(fault.kind, signer, fault.rollupId, fault.slot);
        if (fault.kind == MISSED_WINDOW) place = abi.encodePacked(place, uint256(fault.segment));
        return keccak256(place);
    }

    function _idOf(Fault memory fault) private pure returns (bytes32) {
        return keccak256(abi.encode(fault.kind, fault.judged, fault.operator));
    }

    function _faultOf(Accusation storage open) private view returns (Fault memory) {
        bytes32 operator = open.fault == MISALLOCATION ? open.registrationRoot : bytes32(0);
        return Fault(open.fault, open.rollupId, open.slot, open.segment, open.judged, operator);
    }

    /// @dev What is charged once.
    function _keyOf(Fault memory fault, address signer) private pure returns (bytes32) {
        return keccak256(abi.encode(fault.kind, signer, fault.rollupId, fault.slot, fault.operator));
    }
}
