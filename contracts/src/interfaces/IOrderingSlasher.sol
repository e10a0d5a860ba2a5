// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {ConstraintAnswer} from "../Evidence.sol";
import {
    SignedAuctionResult,
    SignedCommitment,
    SignedConstraintReceipt,
    SignedDelegation,
    SignedDelegationReceipt
} from "../Objects.sol";
import {IRegistry} from "./IRegistry.sol";

/// @title Judge of ordering commitments and allocations (design §8)
/// @notice Faults that are shown at once go through the registry's `slashCommitment(registrationRoot, …)`. The three
/// that the accused may answer (MissedWindow, UnauthorizedSequencing, Misallocation) begin with an accusation here;
/// unanswered, the registry's `slashCommitment` or `slashDelegation` with the same evidence ends it.
interface IOrderingSlasher {
    /// @notice Penalties and times; fixed at deployment.
    struct Config {
        /// What a safety fault costs, wei.
        uint80 safetyWei;
        /// What a liveness fault costs, wei.
        uint80 livenessWei;
        /// Bond of an accusation, wei. Goes to who answers it.
        uint80 bondWei;
        /// How long the accused has, seconds; and how long an answer to MissedWindow can be rebutted.
        uint32 answerSeconds;
        /// How long after that an accusation can still be ended by a slash, seconds; then it lapses.
        uint32 concludeSeconds;
        /// How long after slot n evidence counts, seconds.
        uint32 evidenceSeconds;
        /// How long before slot n the relay takes no more constraints, milliseconds.
        uint32 constraintCutoffMs;
    }

    enum Status {
        None,
        Open,
        /// Answered, and the answer can be rebutted until the deadline.
        Answered,
        /// Answered for good, lapsed, or slashed.
        Closed
    }

    struct Accusation {
        address accuser;
        uint80 bondWei;
        Status status;
        uint8 fault;
        /// Open: until when it can be answered; from then on it can be concluded. Answered: until when it can be rebutted.
        /// Seconds.
        uint48 deadline;
        /// Until when the first answer could come: a rebuttal gives back what is left of it. Seconds.
        uint48 answerUntil;
        address answerer;
        /// Answered: the constraints that the answer stands on.
        bytes32 constraintsHash;
        bytes32 registrationRoot;
        /// Hash of the judged commitment's ordering or bundle, or of the delegation.
        bytes32 judged;
        /// The accused: the committer, or what stands for the proposer's key (`FaultJudged`).
        address signer;
        uint64 rollupId;
        uint16 segment;
        uint64 slot;
    }

    event Accused(
        bytes32 indexed accusation,
        bytes32 indexed registrationRoot,
        address indexed accuser,
        uint8 fault,
        uint64 rollupId,
        uint64 slot,
        uint48 deadline
    );
    /// @param rebuttableUntil seconds; zero if the answer is final
    event AccusationAnswered(bytes32 indexed accusation, address indexed answerer, uint48 rebuttableUntil);
    event AnswerRebutted(bytes32 indexed accusation, address indexed rebutter);
    event AccusationClosed(bytes32 indexed accusation, address indexed bondTo, uint256 bondWei);
    /// @notice A fault was judged. `signer` is the committer, or the first twenty bytes of the hash of the proposer's key.
    event FaultJudged(
        uint8 indexed fault,
        address indexed signer,
        uint64 indexed rollupId,
        uint64 slot,
        uint256 slashAmountWei
    );

    error BadConfig();
    /// @notice Only the registry may call.
    error NotRegistry();
    /// @notice Commitments are judged on the operator's opt-in: that is whose collateral stands behind its committer.
    error DelegationNotEmpty();
    error UnknownFault(uint8 fault);
    /// @notice The fault is ended by an accusation that stands unanswered; there is none, or not yet.
    error NotAccused();
    error AlreadyAccused();
    error WrongBond(uint256 expected);
    /// @notice The signer, rollup, slot and fault were slashed before, for no less.
    error AlreadyJudged();
    /// @notice The judged commitment names another slasher.
    error OtherSlasher(address slasher);
    /// @notice A commitment in the evidence is not the same signer's.
    error OtherSigner(address found);
    /// @notice Not an ordering commitment (type 0x11) with a canonical payload.
    error NotAnOrdering();
    /// @notice Not a bundle commitment (type 0x12) with a canonical payload.
    error NotABundle();
    /// @notice The evidence is not the canonical encoding of the fault's struct.
    error MalformedEvidence();
    /// @notice The commitments are not of the same rollup, slot or segment, or not of the numbers that the fault takes.
    error OtherPlace();
    error SameCommitment();
    /// @notice Parent and first index match: the chain holds.
    error ChainHolds();
    error NotASeal();
    error IndexOutside();
    error BadPath();
    error SameTransaction();
    error NoSuchLeg();
    error NothingSkipped();
    /// @notice The evidence counts only after this time, seconds.
    error TooEarly(uint256 time);
    /// @notice The evidence counted until this time, seconds.
    error TooLate(uint256 until);
    error RecordedInTime();
    /// @notice The signer is the rollup's reserve committer.
    error ReserveCommitter();
    /// @notice The delegation allocates nothing.
    error NoEntries();
    /// @notice The accusation is not in the state that the call needs.
    error WrongStatus(Status status);
    /// @notice The answer does not hold; `reason` says where it fails.
    error BadAnswer(string reason);
    error NotOperator();
    error NoCredit();
    error EthTransferFailed();

    /// @notice Accuses of MissedWindow or UnauthorizedSequencing, with the bond.
    function accuse(bytes32 registrationRoot, SignedCommitment calldata commitment, bytes calldata evidence)
        external
        payable
        returns (bytes32 accusation);

    /// @notice Accuses of Misallocation, with the bond.
    function accuseDelegation(
        IRegistry.RegistrationProof calldata proof,
        SignedDelegation calldata delegation
    ) external payable returns (bytes32 accusation);

    /// @notice Answers MissedWindow: the relay held the constraint that carries the segment's seal. It can be answered with
    /// other constraints besides, until the time to answer is over: what is rebutted is the last answer that stands.
    function answerConstraint(bytes32 accusation, ConstraintAnswer calldata answer) external;

    /// @notice Voids the last such answer: the same relay dropped the same constraints. Then the one before it stands, or
    /// none.
    function rebut(bytes32 accusation, SignedConstraintReceipt calldata dropped) external;

    /// @notice Ends an accusation whose answer was not rebutted: the bond goes to the answerer.
    function settleAnswer(bytes32 accusation) external;

    /// @notice Answers UnauthorizedSequencing with the valid delegation (design §2).
    function answerDelegation(
        bytes32 accusation,
        SignedDelegation calldata delegation,
        SignedDelegationReceipt calldata receipt
    ) external;

    /// @notice Answers Misallocation with the market's result.
    function answerResult(
        bytes32 accusation,
        SignedDelegation calldata delegation,
        SignedAuctionResult calldata result
    ) external;

    /// @notice Ends an accusation that nobody answered or concluded in time, or whose fault was slashed meanwhile: the
    /// bond goes back to the accuser.
    function lapse(bytes32 accusation) external;

    function claimCredit() external;
    function credit(address account) external view returns (uint256);
    function getAccusation(bytes32 accusation) external view returns (Accusation memory);
    function getConfig() external view returns (Config memory);

    /// @notice Judges without a transaction: reverts as `slash` would for a fault that is shown at once, and as `accuse`
    /// would for one that can be answered.
    /// @return fault the fault shown
    /// @return signer who signed the commitment, whether or not any operator opted in with it
    /// @return rollupId the rollup harmed
    /// @return slot the slot it is counted for
    function check(SignedCommitment calldata commitment, bytes calldata evidence)
        external
        view
        returns (uint8 fault, address signer, uint64 rollupId, uint64 slot);
    /// @notice Whether the fault was slashed, of a delegation for any operator that registered the proposer's key.
    function wasJudged(address signer, uint64 rollupId, uint64 slot, uint8 fault) external view returns (bool);
}
