// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {MerkleProofLib} from "solady/utils/MerkleProofLib.sol";
import {MerkleTreeLib} from "solady/utils/MerkleTreeLib.sol";
import {BlsSignatures} from "./BlsSignatures.sol";
import {Delegation, SignedCommitment, SignedDelegation} from "./Objects.sol";
import {Signing} from "./Signing.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IDelegationSlasher, ISlashBeneficiaries, ISlasher} from "./interfaces/ISlasher.sol";

/// @title Registry of operators (design §9)
/// @notice An operator is an owner with collateral and a set of validator keys, known by the Merkle root over them.
/// Signatures of keys are not checked when they are registered: whoever finds a forged one within the fraud proof
/// window takes half of the minimum collateral. After the window the owner may opt in to slashers.
///
/// Every period is half-open: what must come before its end may come until the second before, and what must come
/// after it from that second on. So an operator is never liable and free at once.
///
/// @dev Whoever wrote a slasher, an owner or a beneficiary may be hostile. All that moves ether or changes an operator
/// is under one reentrancy guard, but for `lockCollateral` and `freeCollateral`, which a slasher calls while it judges
/// and which touch nothing but locks. Effects stand before calls, except that a slash is taken after the slasher has
/// said how much; under the guard nothing else can be taken in between.
contract Registry is IRegistry, ReentrancyGuardTransient {
    /// @dev Two slots and the start of a third, which registering leaves alone.
    struct Operator {
        address owner;
        uint80 collateralWei;
        uint16 numKeys;
        // Second slot.
        uint48 registeredAt;
        uint48 unregisteredAt;
        uint48 slashedAt;
        /// End of the open locks; zero if there is none.
        uint48 lockedUntil;
        /// Length of the collateral's history.
        uint32 changes;
        bool deleted;
        bool equivocated;
        // Third slot.
        /// Open locks, of all slashers together.
        uint32 locks;
        /// Locks of earlier rounds ended by time and count no more.
        uint64 lockRound;
    }

    /// @dev A change of collateral: its value from `time` on.
    struct Change {
        uint48 time;
        uint80 collateralWei;
    }

    /// @dev An opt-in, in one slot.
    struct OptIn {
        address committer;
        uint40 optedInAt;
        uint40 optedOutAt;
        bool slashed;
    }

    /// @dev A slasher's locks.
    struct Lock {
        uint64 round;
        uint32 locks;
    }

    /// @notice How long after the last lock the locks end by themselves.
    uint48 public constant MAX_LOCK = 30 days;

    /// @notice Shares of a slash by a slasher, percent. What is left, at least half, is burnt.
    /// @dev Fixed here, since an operator may opt in to a slasher of its own: slashing oneself costs half at least.
    uint256 public constant REWARDED_PERCENT = 20;
    uint256 public constant HARMED_PERCENT = 30;

    /// @dev Enough for a beneficiary's `receive` that keeps books; one that wants more has a credit to claim.
    uint256 private constant PAYMENT_GAS = 50_000;
    uint256 private constant BENEFICIARIES_GAS = 100_000;
    uint256 private constant MAX_KEYS = type(uint16).max;
    address private constant BURNT = address(0);

    uint80 private immutable MIN_COLLATERAL_WEI;
    uint32 private immutable FRAUD_PROOF_WINDOW;
    uint32 private immutable UNREGISTRATION_DELAY;
    uint32 private immutable SLASH_WINDOW;
    uint32 private immutable OPT_IN_DELAY;
    bytes32 private immutable SIGNING_DOMAIN;

    mapping(bytes32 registrationRoot => Operator) private _operators;
    mapping(bytes32 registrationRoot => mapping(uint256 index => Change)) private _history;
    mapping(bytes32 registrationRoot => mapping(address slasher => OptIn)) private _optIns;
    mapping(bytes32 registrationRoot => mapping(address slasher => Lock)) private _locks;
    mapping(address slasher => mapping(address committer => bytes32 registrationRoot)) private _operatorOf;
    mapping(bytes32 digest => bool) private _used;
    mapping(address account => uint256 amountWei) private _credit;

    /// @param config the slash window must not be shorter than the unregistration delay: slashing oneself would be the
    /// quicker way out
    constructor(Config memory config) {
        if (
            config.slashWindow < config.unregistrationDelay || config.minCollateralWei == 0
                || config.chainId != Signing.littleEndian(block.chainid)
        ) revert BadConfig();
        MIN_COLLATERAL_WEI = config.minCollateralWei;
        FRAUD_PROOF_WINDOW = config.fraudProofWindow;
        UNREGISTRATION_DELAY = config.unregistrationDelay;
        SLASH_WINDOW = config.slashWindow;
        OPT_IN_DELAY = config.optInDelay;
        SIGNING_DOMAIN = config.signingDomain;
    }

    // ---- Coming and going.

    /// @inheritdoc IRegistry
    function register(SignedRegistration[] calldata registrations, address owner, bytes32 signingId)
        external
        payable
        returns (bytes32 registrationRoot)
    {
        if (msg.value < MIN_COLLATERAL_WEI) revert InsufficientCollateral();
        if (msg.value > type(uint80).max) revert CollateralOverflow();
        if (owner == address(0)) revert InvalidOwnerAddress();
        if (registrations.length == 0 || registrations.length > MAX_KEYS) revert InvalidRegistrationRoot();

        registrationRoot = MerkleTreeLib.root(_tree(registrations, owner, signingId));
        Operator storage operator = _operators[registrationRoot];
        if (operator.deleted) revert OperatorDeleted();
        if (operator.registeredAt != 0) revert OperatorAlreadyRegistered();

        operator.owner = owner;
        // Bounded above, though no transaction could carry so many.
        // forge-lint: disable-next-line(unsafe-typecast)
        operator.numKeys = uint16(registrations.length);
        operator.registeredAt = uint48(block.timestamp);
        operator.unregisteredAt = type(uint48).max;
        _setCollateral(registrationRoot, operator, msg.value);

        emit OperatorRegistered(registrationRoot, msg.value, owner);
        if (msg.sender != tx.origin || msg.sender.code.length != 0) {
            emit CallData(registrationRoot, msg.data);
        }
    }

    /// @inheritdoc IRegistry
    function unregister(bytes32 registrationRoot) external nonReentrant {
        Operator storage operator = _ownedOperator(registrationRoot);
        if (operator.unregisteredAt != type(uint48).max) revert AlreadyUnregistered();
        // The way out of a slashed operator is `claimSlashedCollateral`.
        if (operator.slashedAt != 0) revert SlashingAlreadyOccurred();
        operator.unregisteredAt = uint48(block.timestamp);
        emit OperatorUnregistered(registrationRoot);
    }

    /// @inheritdoc IRegistry
    /// @dev A change of committer (opt out, wait, opt in) leaves the operator liable for the earlier committers'
    /// signatures. The committer need not show that it knows of it: who names another's committer answers for what
    /// that one signs.
    function optInToSlasher(bytes32 registrationRoot, address slasher, address committer)
        external
        nonReentrant
    {
        Operator storage operator = _ownedOperator(registrationRoot);
        if (operator.unregisteredAt != type(uint48).max) revert OperatorAlreadyUnregistered();
        if (block.timestamp < _fraudProofEnd(operator)) revert FraudProofWindowNotMet();
        OptIn storage optIn = _optIns[registrationRoot][slasher];
        if (optIn.slashed || operator.slashedAt != 0) revert SlashingAlreadyOccurred();
        if (optIn.optedOutAt < optIn.optedInAt) revert AlreadyOptedIn();
        if (optIn.optedOutAt != 0 && block.timestamp < uint256(optIn.optedOutAt) + OPT_IN_DELAY) {
            revert OptInDelayNotMet();
        }
        if (committer == address(0)) revert InvalidCommitter();
        bytes32 user = _operatorOf[slasher][committer];
        if (user == 0) _operatorOf[slasher][committer] = registrationRoot;
        else if (user != registrationRoot) revert CommitterInUse(user);

        optIn.committer = committer;
        optIn.optedInAt = uint40(block.timestamp);
        optIn.optedOutAt = 0;
        emit OperatorOptedIn(registrationRoot, slasher, committer);
    }

    /// @inheritdoc IRegistry
    function optOutOfSlasher(bytes32 registrationRoot, address slasher) external nonReentrant {
        _ownedOperator(registrationRoot);
        OptIn storage optIn = _optIns[registrationRoot][slasher];
        if (optIn.optedOutAt >= optIn.optedInAt) revert NotOptedIn();
        if (block.timestamp < uint256(optIn.optedInAt) + OPT_IN_DELAY) revert OptInDelayNotMet();
        optIn.optedOutAt = uint40(block.timestamp);
        emit OperatorOptedOut(registrationRoot, slasher);
    }

    /// @inheritdoc IRegistry
    /// @dev Anyone may add. Not to an operator that is slashed to nothing or was never registered.
    function addCollateral(bytes32 registrationRoot) external payable nonReentrant {
        Operator storage operator = _operators[registrationRoot];
        if (operator.deleted) revert OperatorDeleted();
        if (operator.collateralWei == 0) revert NoCollateral();
        if (msg.value == 0) revert InsufficientCollateral();
        uint256 collateralWei = operator.collateralWei + msg.value;
        if (collateralWei > type(uint80).max) revert CollateralOverflow();
        _setCollateral(registrationRoot, operator, collateralWei);
        emit CollateralAdded(registrationRoot, collateralWei);
    }

    /// @inheritdoc IRegistry
    function claimCollateral(bytes32 registrationRoot) external nonReentrant {
        Operator storage operator = _operators[registrationRoot];
        if (operator.deleted) revert OperatorDeleted();
        // A root that was never registered must not be deleted before it is.
        if (operator.registeredAt == 0 || operator.unregisteredAt == type(uint48).max) {
            revert NotUnregistered();
        }
        if (block.timestamp < _unregistrationEnd(operator)) revert UnregistrationDelayNotMet();
        if (operator.slashedAt != 0) revert SlashingAlreadyOccurred();
        _release(registrationRoot, operator);
    }

    /// @inheritdoc IRegistry
    function claimSlashedCollateral(bytes32 registrationRoot) external nonReentrant {
        Operator storage operator = _operators[registrationRoot];
        if (operator.deleted) revert OperatorDeleted();
        if (operator.slashedAt == 0) revert NotSlashed();
        if (block.timestamp < _slashEnd(operator)) revert SlashWindowNotMet();
        _release(registrationRoot, operator);
    }

    /// @inheritdoc IRegistry
    function claimCredit() external nonReentrant {
        uint256 amountWei = _credit[msg.sender];
        if (amountWei == 0) revert NoCredit();
        _credit[msg.sender] = 0;
        emit CreditClaimed(msg.sender, amountWei);
        if (!_send(msg.sender, amountWei, gasleft())) revert EthTransferFailed();
    }

    // ---- Slashing.

    /// @inheritdoc IRegistry
    /// @dev Once for each registration of the operator: digest
    /// `keccak256(abi.encode(SlashingType.Fraud, registrationRoot, leaf))`.
    function slashRegistration(RegistrationProof calldata proof)
        external
        nonReentrant
        returns (uint256 slashedCollateralWei)
    {
        bytes32 root = proof.registrationRoot;
        Operator storage operator = _operators[root];
        if (operator.deleted) revert OperatorDeleted();
        _use(
            keccak256(
                abi.encode(
                    SlashingType.Fraud, root, _leaf(proof.registration, operator.owner, proof.signingId)
                )
            )
        );
        if (block.timestamp >= _fraudProofEnd(operator)) revert FraudProofWindowExpired();
        if (operator.collateralWei == 0) revert NoCollateral();
        if (operator.collateralWei < MIN_COLLATERAL_WEI) revert CollateralBelowMinimum();
        if (verifyRegistration(proof)) revert FraudProofChallengeInvalid();

        slashedCollateralWei = _take(root, operator, MIN_COLLATERAL_WEI);
        _rewardHalf(SlashingType.Fraud, root, operator.owner, slashedCollateralWei);
    }

    /// @inheritdoc IRegistry
    /// @dev Once for each delegation, commitment and evidence, whatever their signatures, nonces and signing ids. What
    /// is the same fault in other evidence only the slasher can tell.
    function slashCommitment(
        RegistrationProof calldata proof,
        SignedDelegation calldata delegation,
        SignedCommitment calldata commitment,
        bytes calldata evidence
    ) external nonReentrant returns (uint256 slashAmountWei) {
        bytes32 root = proof.registrationRoot;
        address slasher = commitment.commitment.slasher;
        _requireLiable(root, slasher, true);
        (address committer, bytes32 commitmentRoot) = _signerOf(commitment);
        // Nobody's signature would be that of a delegation that names no committer.
        if (committer == address(0) || committer != delegation.delegation.committer) {
            revert UnauthorizedCommitment();
        }
        verifyDelegation(proof, delegation);
        _useAgainst(
            SlashingType.Commitment,
            root,
            slasher,
            keccak256(
                abi.encode(Signing.delegationRoot(delegation.delegation), commitmentRoot, keccak256(evidence))
            )
        );
        slashAmountWei = _judge(root, delegation.delegation, commitment, committer, evidence);
    }

    /// @inheritdoc IRegistry
    /// @dev Once for each commitment and evidence, as above.
    function slashCommitment(
        bytes32 registrationRoot,
        SignedCommitment calldata commitment,
        bytes calldata evidence
    ) external nonReentrant returns (uint256 slashAmountWei) {
        address slasher = commitment.commitment.slasher;
        _requireLiable(registrationRoot, slasher, true);
        (address committer, bytes32 commitmentRoot) = _signerOf(commitment);
        // Zero was never opted in with.
        if (_operatorOf[slasher][committer] != registrationRoot) revert UnauthorizedCommitment();
        _useAgainst(
            SlashingType.Commitment,
            registrationRoot,
            slasher,
            keccak256(abi.encode(bytes32(0), commitmentRoot, keccak256(evidence)))
        );
        Delegation memory none;
        slashAmountWei = _judge(registrationRoot, none, commitment, committer, evidence);
    }

    /// @inheritdoc IRegistry
    /// @dev Once for each delegation and evidence, as above.
    function slashDelegation(
        RegistrationProof calldata proof,
        SignedDelegation calldata delegation,
        address slasher,
        bytes calldata evidence
    ) external nonReentrant returns (uint256 slashAmountWei) {
        bytes32 root = proof.registrationRoot;
        _requireLiable(root, slasher, true);
        verifyDelegation(proof, delegation);
        _useAgainst(
            SlashingType.Delegation,
            root,
            slasher,
            keccak256(
                abi.encode(Signing.delegationRoot(delegation.delegation), bytes32(0), keccak256(evidence))
            )
        );
        uint256 wantedWei =
            IDelegationSlasher(slasher).slashDelegation(root, delegation.delegation, evidence, msg.sender);
        slashAmountWei = _settle(SlashingType.Delegation, root, slasher, wantedWei);
    }

    /// @inheritdoc IRegistry
    /// @dev Once for each operator. Of an operator that has less than the minimum left, all of it.
    function slashEquivocation(
        RegistrationProof calldata proof,
        SignedDelegation calldata delegationOne,
        SignedDelegation calldata delegationTwo
    ) external nonReentrant returns (uint256 slashAmountWei) {
        bytes32 root = proof.registrationRoot;
        Operator storage operator = _operators[root];
        if (operator.deleted) revert OperatorDeleted();
        if (operator.equivocated) revert OperatorAlreadyEquivocated();
        if (
            Signing.delegationRoot(delegationOne.delegation)
                == Signing.delegationRoot(delegationTwo.delegation)
        ) revert DelegationsAreSame();
        if (delegationOne.delegation.slot != delegationTwo.delegation.slot) revert DifferentSlots();
        if (block.timestamp < _fraudProofEnd(operator)) revert FraudProofWindowNotMet();
        if (block.timestamp >= operator.lockedUntil) _requireNotGone(operator);
        verifyDelegation(proof, delegationOne);
        verifyDelegation(proof, delegationTwo);

        operator.equivocated = true;
        slashAmountWei = _take(root, operator, MIN_COLLATERAL_WEI);
        _rewardHalf(SlashingType.Equivocation, root, operator.owner, slashAmountWei);
    }

    // ---- Locks.

    /// @inheritdoc IRegistry
    /// @dev An open lock does not make the operator liable to another: so locks end for good `MAX_LOCK` after
    /// liability would have ended without them.
    function lockCollateral(bytes32 registrationRoot) external {
        _requireLiable(registrationRoot, msg.sender, false);
        Operator storage operator = _operators[registrationRoot];
        if (block.timestamp >= operator.lockedUntil) {
            // Nothing is locked, or what is counted as locked ended by time.
            operator.locks = 0;
            ++operator.lockRound;
        }
        Lock storage lock = _locks[registrationRoot][msg.sender];
        if (lock.round != operator.lockRound) {
            lock.round = operator.lockRound;
            lock.locks = 0;
        }
        ++operator.locks;
        ++lock.locks;
        uint48 until = uint48(block.timestamp) + MAX_LOCK;
        operator.lockedUntil = until;
        emit CollateralLocked(registrationRoot, msg.sender, lock.locks, until);
    }

    /// @inheritdoc IRegistry
    function freeCollateral(bytes32 registrationRoot) external {
        Operator storage operator = _operators[registrationRoot];
        if (!_holdsLock(registrationRoot, operator, msg.sender)) revert NotLocked();
        Lock storage lock = _locks[registrationRoot][msg.sender];
        --lock.locks;
        --operator.locks;
        if (operator.locks == 0) operator.lockedUntil = 0;
        emit CollateralFreed(registrationRoot, msg.sender, lock.locks);
    }

    // ---- Views.

    /// @inheritdoc IRegistry
    function getConfig() external view returns (Config memory config) {
        config = Config({
            minCollateralWei: MIN_COLLATERAL_WEI,
            fraudProofWindow: FRAUD_PROOF_WINDOW,
            unregistrationDelay: UNREGISTRATION_DELAY,
            slashWindow: SLASH_WINDOW,
            optInDelay: OPT_IN_DELAY,
            signingDomain: SIGNING_DOMAIN,
            chainId: Signing.littleEndian(block.chainid)
        });
    }

    /// @inheritdoc IRegistry
    function getOperatorData(bytes32 registrationRoot)
        public
        view
        returns (OperatorData memory operatorData)
    {
        Operator storage operator = _operators[registrationRoot];
        operatorData = OperatorData({
            owner: operator.owner,
            collateralWei: operator.collateralWei,
            numKeys: operator.numKeys,
            registeredAt: operator.registeredAt,
            unregisteredAt: operator.unregisteredAt,
            slashedAt: operator.slashedAt,
            deleted: operator.deleted,
            equivocated: operator.equivocated
        });
    }

    /// @inheritdoc IRegistry
    function verifyMerkleProof(RegistrationProof calldata proof) public view {
        Operator storage operator = _operators[proof.registrationRoot];
        bytes32 leaf = _leaf(proof.registration, operator.owner, proof.signingId);
        // Of a root that was never registered the owner is zero, and a tree over that anyone can make.
        if (
            operator.registeredAt == 0
                || !MerkleProofLib.verifyCalldata(proof.merkleProof, proof.registrationRoot, leaf)
        ) revert InvalidProof();
    }

    /// @inheritdoc IRegistry
    function getVerifiedOperatorData(RegistrationProof calldata proof)
        external
        view
        returns (OperatorData memory)
    {
        verifyMerkleProof(proof);
        return getOperatorData(proof.registrationRoot);
    }

    /// @inheritdoc IRegistry
    function getSlasherCommitment(bytes32 registrationRoot, address slasher)
        external
        view
        returns (SlasherCommitment memory)
    {
        OptIn storage optIn = _optIns[registrationRoot][slasher];
        return SlasherCommitment(optIn.committer, optIn.optedInAt, optIn.optedOutAt, optIn.slashed);
    }

    /// @inheritdoc IRegistry
    function isSlashed(bytes32 registrationRoot) external view returns (bool slashed) {
        slashed = _operators[registrationRoot].slashedAt != 0;
    }

    /// @inheritdoc IRegistry
    function isSlashed(bytes32 registrationRoot, address slasher) external view returns (bool slashed) {
        slashed = _optIns[registrationRoot][slasher].slashed;
    }

    /// @inheritdoc IRegistry
    function isOptedIntoSlasher(bytes32 registrationRoot, address slasher) external view returns (bool) {
        OptIn storage optIn = _optIns[registrationRoot][slasher];
        return optIn.optedOutAt < optIn.optedInAt && !optIn.slashed;
    }

    /// @inheritdoc IRegistry
    function slashingEvidenceAlreadyUsed(bytes32 slashingDigest) external view returns (bool) {
        return _used[slashingDigest];
    }

    /// @inheritdoc IRegistry
    function getHistoricalCollateral(bytes32 registrationRoot, uint256 timestamp)
        external
        view
        returns (uint256 collateralWei)
    {
        mapping(uint256 index => Change) storage history = _history[registrationRoot];
        uint256 high = _operators[registrationRoot].changes;
        if (high == 0) return 0;
        if (timestamp < history[0].time) revert TimestampTooOld();
        // The last change at `timestamp` or before is at `low` or after, and before `high`.
        uint256 low = 0;
        while (high - low > 1) {
            uint256 middle = (low + high) / 2;
            if (history[middle].time <= timestamp) low = middle;
            else high = middle;
        }
        return history[low].collateralWei;
    }

    /// @inheritdoc IRegistry
    function getRegistrationProof(
        SignedRegistration[] calldata regs,
        address owner,
        uint256 leafIndex,
        bytes32 signingId
    ) external pure returns (RegistrationProof memory proof) {
        bytes32[] memory tree = _tree(regs, owner, signingId);
        proof.registrationRoot = MerkleTreeLib.root(tree);
        proof.registration = regs[leafIndex];
        proof.merkleProof = MerkleTreeLib.leafProof(tree, leafIndex);
        proof.signingId = signingId;
    }

    /// @inheritdoc IRegistry
    function credit(address account) external view returns (uint256) {
        return _credit[account];
    }

    /// @inheritdoc IRegistry
    function operatorOf(address slasher, address committer) external view returns (bytes32 registrationRoot) {
        return _operatorOf[slasher][committer];
    }

    /// @inheritdoc IRegistry
    function isLiable(bytes32 registrationRoot, address slasher) external view returns (bool) {
        Operator storage operator = _operators[registrationRoot];
        OptIn storage optIn = _optIns[registrationRoot][slasher];
        if (optIn.optedInAt == 0 || operator.deleted) return false;
        if (_holdsLock(registrationRoot, operator, slasher)) return true;
        return block.timestamp < _unregistrationEnd(operator) && block.timestamp < _slashEnd(operator)
            && block.timestamp < _optOutEnd(optIn);
    }

    /// @inheritdoc IRegistry
    function verifyRegistration(RegistrationProof calldata proof) public view returns (bool) {
        verifyMerkleProof(proof);
        bytes32 root = _signingRoot(
            Signing.registrationRoot(_operators[proof.registrationRoot].owner),
            proof.signingId,
            proof.registration.nonce
        );
        return BlsSignatures.verify(root, proof.registration.pubkey, proof.registration.signature);
    }

    /// @inheritdoc IRegistry
    function verifyDelegation(RegistrationProof calldata proof, SignedDelegation calldata delegation)
        public
        view
    {
        if (
            keccak256(abi.encode(proof.registration.pubkey))
                != keccak256(abi.encode(delegation.delegation.proposer))
        ) revert InvalidProof();
        verifyMerkleProof(proof);
        if (!isSignedDelegation(delegation)) revert DelegationSignatureInvalid();
    }

    /// @inheritdoc IRegistry
    function isSignedDelegation(SignedDelegation calldata delegation) public view returns (bool) {
        bytes32 root = _signingRoot(
            Signing.delegationRoot(delegation.delegation), delegation.signingId, delegation.nonce
        );
        return BlsSignatures.verify(root, delegation.delegation.proposer, delegation.signature);
    }

    // ---- Who is liable until when.

    function _fraudProofEnd(Operator storage operator) private view returns (uint256) {
        return uint256(operator.registeredAt) + FRAUD_PROOF_WINDOW;
    }

    /// @dev End of liability by unregistering; beyond all time if it did not.
    function _unregistrationEnd(Operator storage operator) private view returns (uint256) {
        return uint256(operator.unregisteredAt) + UNREGISTRATION_DELAY;
    }

    /// @dev End of liability by having been slashed.
    function _slashEnd(Operator storage operator) private view returns (uint256) {
        uint256 slashedAt = operator.slashedAt;
        return slashedAt == 0 ? type(uint256).max : slashedAt + SLASH_WINDOW;
    }

    /// @dev End of liability to a slasher by opting out of it.
    function _optOutEnd(OptIn storage optIn) private view returns (uint256) {
        uint256 optedOutAt = optIn.optedOutAt;
        return optedOutAt == 0 ? type(uint256).max : optedOutAt + SLASH_WINDOW;
    }

    function _requireNotGone(Operator storage operator) private view {
        if (block.timestamp >= _unregistrationEnd(operator)) revert OperatorAlreadyUnregistered();
        if (block.timestamp >= _slashEnd(operator)) revert SlashWindowExpired();
    }

    /// @dev Reverts, saying why, unless the slasher may slash the operator.
    /// @param byLock whether an open lock of the slasher's is enough
    function _requireLiable(bytes32 root, address slasher, bool byLock) private view {
        Operator storage operator = _operators[root];
        OptIn storage optIn = _optIns[root][slasher];
        if (operator.deleted) revert OperatorDeleted();
        // Opted in: so registered, and past the fraud proof window.
        if (optIn.optedInAt == 0) revert NotOptedIn();
        if (byLock && _holdsLock(root, operator, slasher)) return;
        _requireNotGone(operator);
        if (block.timestamp >= _optOutEnd(optIn)) revert SlashWindowExpired();
    }

    function _holdsLock(bytes32 root, Operator storage operator, address slasher)
        private
        view
        returns (bool)
    {
        // Most operators are not locked, and pay for one comparison.
        if (block.timestamp >= operator.lockedUntil) return false;
        Lock storage lock = _locks[root][slasher];
        return lock.locks != 0 && lock.round == operator.lockRound;
    }

    /// @dev The operator, if it is the caller's.
    function _ownedOperator(bytes32 root) private view returns (Operator storage operator) {
        operator = _operators[root];
        if (operator.deleted) revert OperatorDeleted();
        if (operator.owner != msg.sender) revert WrongOperator();
    }

    // ---- Evidence.

    function _use(bytes32 digest) private {
        if (_used[digest]) revert SlashingAlreadyOccurred();
        _used[digest] = true;
    }

    /// @dev Digest of a slash by a slasher:
    /// `keccak256(abi.encode(SlashingType, registrationRoot, slasher, fault))` with
    /// `fault = keccak256(abi.encode(delegation's object root or 0, commitment's or 0, keccak256(evidence)))`.
    function _useAgainst(SlashingType slashingType, bytes32 root, address slasher, bytes32 fault) private {
        _use(keccak256(abi.encode(slashingType, root, slasher, fault)));
        _optIns[root][slasher].slashed = true;
    }

    function _signerOf(SignedCommitment calldata commitment)
        private
        view
        returns (address committer, bytes32 commitmentRoot)
    {
        commitmentRoot = Signing.commitmentRoot(commitment.commitment);
        bytes32 root = _signingRoot(commitmentRoot, commitment.signingId, commitment.nonce);
        committer = Signing.recover(root, commitment.signature);
    }

    function _signingRoot(bytes32 objectRoot, bytes32 signingId, uint64 nonce)
        private
        view
        returns (bytes32)
    {
        return Signing.signingRoot(objectRoot, signingId, nonce, block.chainid, SIGNING_DOMAIN);
    }

    function _leaf(SignedRegistration calldata registration, address owner, bytes32 signingId)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(registration, owner, signingId));
    }

    function _tree(SignedRegistration[] calldata registrations, address owner, bytes32 signingId)
        private
        pure
        returns (bytes32[] memory)
    {
        bytes32[] memory leaves = new bytes32[](registrations.length);
        for (uint256 i = 0; i < registrations.length; ++i) {
            leaves[i] = _leaf(registrations[i], owner, signingId);
        }
        return MerkleTreeLib.build(MerkleTreeLib.pad(leaves));
    }

    // ---- Ether.

    function _setCollateral(bytes32 root, Operator storage operator, uint256 collateralWei) private {
        // Never more than was checked when it came in.
        // forge-lint: disable-next-line(unsafe-typecast)
        uint80 value = uint80(collateralWei);
        operator.collateralWei = value;
        // Several changes of one second all stay; of them the last counts.
        _history[root][operator.changes++] = Change(uint48(block.timestamp), value);
    }

    /// @dev Takes `wantedWei`, or all there is. The first time opens the slash window.
    function _take(bytes32 root, Operator storage operator, uint256 wantedWei) private returns (uint256) {
        uint256 collateralWei = operator.collateralWei;
        uint256 takenWei = wantedWei < collateralWei ? wantedWei : collateralWei;
        if (takenWei == 0) revert NoCollateralSlashed();
        if (operator.slashedAt == 0) operator.slashedAt = uint48(block.timestamp);
        _setCollateral(root, operator, collateralWei - takenWei);
        return takenWei;
    }

    /// @dev Lets the commitment's slasher judge, and takes what it says.
    function _judge(
        bytes32 root,
        Delegation memory delegation,
        SignedCommitment calldata commitment,
        address committer,
        bytes calldata evidence
    ) private returns (uint256) {
        address slasher = commitment.commitment.slasher;
        uint256 wantedWei =
            ISlasher(slasher).slash(delegation, commitment.commitment, committer, evidence, msg.sender);
        return _settle(SlashingType.Commitment, root, slasher, wantedWei);
    }

    /// @dev Ends a slash that a slasher decided.
    function _settle(SlashingType slashingType, bytes32 root, address slasher, uint256 wantedWei)
        private
        returns (uint256 takenWei)
    {
        Operator storage operator = _operators[root];
        takenWei = _take(root, operator, wantedWei);
        emit OperatorSlashed(slashingType, root, operator.owner, msg.sender, slasher, takenWei);
        (address rewarded, address harmed) = _beneficiaries(slasher);
        uint256 harmedWei = harmed == address(0) ? 0 : takenWei * HARMED_PERCENT / 100;
        _share(root, takenWei, rewarded, takenWei * REWARDED_PERCENT / 100, harmed, harmedWei);
    }

    /// @dev Ends a slash that the registry decided.
    function _rewardHalf(SlashingType slashingType, bytes32 root, address owner, uint256 takenWei) private {
        emit OperatorSlashed(slashingType, root, owner, msg.sender, address(this), takenWei);
        _share(root, takenWei, msg.sender, takenWei / 2, address(0), 0);
    }

    function _share(
        bytes32 root,
        uint256 takenWei,
        address rewarded,
        uint256 rewardWei,
        address harmed,
        uint256 harmedWei
    ) private {
        uint256 burntWei = takenWei - rewardWei - harmedWei;
        emit SlashShared(root, rewarded, rewardWei, harmed, harmedWei, burntWei);
        if (harmedWei != 0) _credit[harmed] += harmedWei;
        // The rewarded may be another than the caller: it must not be able to undo the slash, nor to make it dear.
        if (!_send(rewarded, rewardWei, PAYMENT_GAS)) _credit[rewarded] += rewardWei;
        if (!_send(BURNT, burntWei, gasleft())) revert EthTransferFailed();
    }

    /// @dev Asks the slasher, which may not answer, or not in earnest.
    function _beneficiaries(address slasher) private view returns (address rewarded, address harmed) {
        // Else the challenger could starve the question, and take what is another's.
        if (gasleft() < BENEFICIARIES_GAS * 64 / 63 + 5000) revert InsufficientGas();
        bytes memory question = abi.encodeCall(ISlashBeneficiaries.beneficiaries, ());
        bool answered;
        uint256 first;
        uint256 second;
        assembly ("memory-safe") {
            // Of the answer no more than two words are copied.
            answered := staticcall(
                BENEFICIARIES_GAS,
                slasher,
                add(question, 0x20),
                mload(question),
                0x00,
                0x40
            )
            answered := and(answered, eq(returndatasize(), 0x40))
            first := mload(0x00)
            second := mload(0x20)
        }
        if (!answered || first == 0 || (first | second) >> 160 != 0) return (msg.sender, address(0));
        // Bounded above.
        // forge-lint: disable-next-line(unsafe-typecast)
        return (address(uint160(first)), address(uint160(second)));
    }

    /// @dev Ends an operator and pays what is left.
    function _release(bytes32 root, Operator storage operator) private {
        if (block.timestamp < operator.lockedUntil) revert CollateralIsLocked(operator.lockedUntil);
        address owner = operator.owner;
        uint256 collateralWei = operator.collateralWei;
        operator.deleted = true;
        _setCollateral(root, operator, 0);
        emit CollateralClaimed(root, collateralWei);
        if (!_send(owner, collateralWei, gasleft())) revert EthTransferFailed();
    }

    /// @dev Sends ether, and copies nothing of the answer.
    function _send(address to, uint256 amountWei, uint256 gasLimit) private returns (bool success) {
        assembly ("memory-safe") {
            success := call(gasLimit, to, amountWei, 0x00, 0x00, 0x00, 0x00)
        }
    }
}
