// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {G1Point, G2Point, SignedCommitment, SignedDelegation} from "../Objects.sol";

/// @title Registry of operators: validators' keys, collateral, opt-ins, slashing (design §9)
/// @notice The ABI of the Universal Registry Contract's `signing-domain` branch, and what design §8 needs beyond it:
/// `slashDelegation`, locks of collateral while an accusation is open, and one operator for each committer.
/// Times are seconds, amounts wei.
interface IRegistry {
    /// @notice How the registry works; fixed at deployment.
    struct Config {
        /// Least collateral of an operator. Half of it rewards who proves a forged registration or an equivocation.
        uint80 minCollateralWei;
        /// How long after registration a forged signature can be shown; an operator counts only after it.
        uint32 fraudProofWindow;
        /// Time between unregistering and claiming.
        uint32 unregistrationDelay;
        /// Time after the first slash, and after an opt-out, in which further slashes are possible.
        uint32 slashWindow;
        /// Least time between opt-in and opt-out, and between opt-out and another opt-in.
        uint32 optInDelay;
        /// `Signing.domain` of the network.
        bytes32 signingDomain;
        /// The chain id in its 32-byte little-endian (SSZ) form.
        bytes32 chainId;
    }

    /// @notice A validator key's consent to an owner: BLS, message type 1.
    struct SignedRegistration {
        G1Point pubkey;
        G2Point signature;
        uint64 nonce;
    }

    /// @notice What is known of an operator.
    struct OperatorData {
        address owner;
        uint80 collateralWei;
        uint16 numKeys;
        uint48 registeredAt;
        /// `type(uint48).max` until it unregisters.
        uint48 unregisteredAt;
        /// Time of the first slash; zero if none.
        uint48 slashedAt;
        /// The collateral was claimed; the root cannot be used again.
        bool deleted;
        bool equivocated;
    }

    /// @notice An operator's opt-in to a slasher.
    struct SlasherCommitment {
        /// The key that signs commitments.
        address committer;
        uint48 optedInAt;
        /// Zero unless opted out.
        uint48 optedOutAt;
        bool slashed;
    }

    /// @notice Shows that a key belongs to an operator.
    struct RegistrationProof {
        bytes32 registrationRoot;
        SignedRegistration registration;
        bytes32[] merkleProof;
        bytes32 signingId;
    }

    enum SlashingType {
        Fraud,
        Equivocation,
        Commitment,
        Delegation
    }

    event OperatorRegistered(bytes32 indexed registrationRoot, uint256 collateralWei, address owner);
    event OperatorSlashed(
        SlashingType slashingType,
        bytes32 indexed registrationRoot,
        address owner,
        address challenger,
        address indexed slasher,
        uint256 slashAmountWei
    );
    event OperatorUnregistered(bytes32 indexed registrationRoot);
    event CollateralClaimed(bytes32 indexed registrationRoot, uint256 collateralWei);
    /// @param collateralWei the collateral after the addition
    event CollateralAdded(bytes32 indexed registrationRoot, uint256 collateralWei);
    event OperatorOptedIn(
        bytes32 indexed registrationRoot, address indexed slasher, address indexed committer
    );
    event OperatorOptedOut(bytes32 indexed registrationRoot, address indexed slasher);

    /// @notice `register` was not called straight from an account without code, so the transaction's input need not
    /// be the call's: here is the call's. Absent, the keys are in the transaction's input.
    event CallData(bytes32 indexed registrationRoot, bytes data);
    /// @notice A slasher locked, or freed, the collateral; `locks` are those that it now holds.
    event CollateralLocked(
        bytes32 indexed registrationRoot, address indexed slasher, uint32 locks, uint48 until
    );
    event CollateralFreed(bytes32 indexed registrationRoot, address indexed slasher, uint32 locks);
    /// @notice Where a slash went; the three sum to `slashAmountWei` of the `OperatorSlashed` before it.
    event SlashShared(
        bytes32 indexed registrationRoot,
        address indexed rewarded,
        uint256 rewardWei,
        address indexed harmed,
        uint256 harmedWei,
        uint256 burntWei
    );
    event CreditClaimed(address indexed account, uint256 amountWei);

    error AlreadyOptedIn();
    error AlreadyUnregistered();
    error CollateralBelowMinimum();
    error CollateralOverflow();
    error DelegationSignatureInvalid();
    error DelegationsAreSame();
    error DifferentSlots();
    error EthTransferFailed();
    error FraudProofChallengeInvalid();
    error FraudProofWindowExpired();
    error FraudProofWindowNotMet();
    error InsufficientCollateral();
    error InvalidOwnerAddress();
    error InvalidProof();
    error InvalidRegistrationRoot();
    error NoCollateral();
    error NoCollateralSlashed();
    error NotOptedIn();
    error NotSlashed();
    error NotUnregistered();
    error OperatorAlreadyEquivocated();
    error OperatorAlreadyRegistered();
    error OperatorAlreadyUnregistered();
    error OperatorDeleted();
    error OptInDelayNotMet();
    error SlashWindowExpired();
    error SlashWindowNotMet();
    error SlashingAlreadyOccurred();
    error TimestampTooOld();
    error UnauthorizedCommitment();
    error UnregistrationDelayNotMet();
    error WrongOperator();

    /// @notice The configuration contradicts itself or the chain.
    error BadConfig();
    /// @notice The committer is, or was, another operator's for this slasher.
    error CommitterInUse(bytes32 registrationRoot);
    /// @notice A committer of zero would be recovered from every malformed signature.
    error InvalidCommitter();
    /// @notice An accusation is open.
    error CollateralIsLocked(uint256 until);
    /// @notice The caller holds no lock on this operator.
    error NotLocked();
    /// @notice Nothing to claim.
    error NoCredit();
    /// @notice Too little gas is left to ask the slasher who is to be paid.
    error InsufficientGas();

    // ---- As the Universal Registry Contract has them.

    function register(SignedRegistration[] calldata registrations, address owner, bytes32 signingId)
        external
        payable
        returns (bytes32 registrationRoot);
    function unregister(bytes32 registrationRoot) external;
    function optInToSlasher(bytes32 registrationRoot, address slasher, address committer) external;
    function optOutOfSlasher(bytes32 registrationRoot, address slasher) external;
    function slashRegistration(RegistrationProof calldata proof)
        external
        returns (uint256 slashedCollateralWei);
    function slashCommitment(
        RegistrationProof calldata proof,
        SignedDelegation calldata delegation,
        SignedCommitment calldata commitment,
        bytes calldata evidence
    ) external returns (uint256 slashAmountWei);
    function slashCommitment(
        bytes32 registrationRoot,
        SignedCommitment calldata commitment,
        bytes calldata evidence
    ) external returns (uint256 slashAmountWei);
    function slashEquivocation(
        RegistrationProof calldata proof,
        SignedDelegation calldata delegationOne,
        SignedDelegation calldata delegationTwo
    ) external returns (uint256 slashAmountWei);
    function addCollateral(bytes32 registrationRoot) external payable;
    function claimCollateral(bytes32 registrationRoot) external;
    function claimSlashedCollateral(bytes32 registrationRoot) external;
    function getConfig() external view returns (Config memory config);
    function getOperatorData(bytes32 registrationRoot)
        external
        view
        returns (OperatorData memory operatorData);
    function verifyMerkleProof(RegistrationProof calldata proof) external view;
    function getSlasherCommitment(bytes32 registrationRoot, address slasher)
        external
        view
        returns (SlasherCommitment memory);
    function isSlashed(bytes32 registrationRoot) external view returns (bool slashed);
    function isSlashed(bytes32 registrationRoot, address slasher) external view returns (bool slashed);
    function isOptedIntoSlasher(bytes32 registrationRoot, address slasher) external view returns (bool);
    function getVerifiedOperatorData(RegistrationProof calldata proof)
        external
        view
        returns (OperatorData memory);
    function slashingEvidenceAlreadyUsed(bytes32 slashingDigest) external view returns (bool);
    /// @notice The collateral after the last change at `timestamp` or before.
    function getHistoricalCollateral(bytes32 registrationRoot, uint256 timestamp)
        external
        view
        returns (uint256 collateralWei);
    function getRegistrationProof(
        SignedRegistration[] calldata regs,
        address owner,
        uint256 leafIndex,
        bytes32 signingId
    ) external pure returns (RegistrationProof memory proof);

    // ---- Ours.

    /// @notice Slashes for a fault shown by a delegation alone. The key's operator must have opted in to `slasher`,
    /// which must be an `IDelegationSlasher`.
    function slashDelegation(
        RegistrationProof calldata proof,
        SignedDelegation calldata delegation,
        address slasher,
        bytes calldata evidence
    ) external returns (uint256 slashAmountWei);

    /// @notice Keeps an operator's collateral, and its liability, while an accusation is open. Called by a slasher
    /// that may slash it. Each call is one lock; locks end together after `MAX_LOCK` from the last.
    function lockCollateral(bytes32 registrationRoot) external;

    /// @notice Gives back one lock of the caller's.
    function freeCollateral(bytes32 registrationRoot) external;

    /// @notice Pays the caller what slashes left it as the harmed party.
    function claimCredit() external;

    /// @notice What `claimCredit` would pay.
    function credit(address account) external view returns (uint256);

    /// @notice The only operator that ever opted in to `slasher` with `committer`; zero if none.
    function operatorOf(address slasher, address committer) external view returns (bytes32 registrationRoot);

    /// @notice Whether `slasher` may slash the operator now: it opted in, and neither opt-out, unregistration nor an
    /// earlier slash lies back too far (an open lock keeps it liable).
    function isLiable(bytes32 registrationRoot, address slasher) external view returns (bool);

    /// @notice Whether the key in the proof signed its registration for the operator's owner. Reverts with
    /// `InvalidProof` if the key is not the operator's.
    function verifyRegistration(RegistrationProof calldata proof) external view returns (bool);

    /// @notice Reverts unless the key in the proof is the operator's, is the delegation's proposer, and signed it.
    function verifyDelegation(RegistrationProof calldata proof, SignedDelegation calldata delegation)
        external
        view;

    /// @notice Whether the delegation's proposer signed it, registered or not.
    function isSignedDelegation(SignedDelegation calldata delegation) external view returns (bool);
}
