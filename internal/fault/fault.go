package fault

// Name names a fault.
type Name string

// The faults.
const (
	AnswerBeforeCommit   Name = "answer-before-commit"   // a caller is told "accepted" before the signal is durable
	NoDeduplication      Name = "no-deduplication"       // an idempotency key that was used is not looked up
	ResumeOneTooFar      Name = "resume-one-too-far"     // a harness that comes back is told that one event more is durable than is
	OldEpochAccepted     Name = "old-epoch-accepted"     // events of a former epoch are taken for the present one's
	JournalWithoutSync   Name = "journal-without-sync"   // the spoke answers before its journal has the changes
	ApprovalBeforeCommit Name = "approval-before-commit" // a person is told that an answer counts before it is durable
	CancelForgotten      Name = "cancel-forgotten"       // a hub that takes a shard over does not know what was cancelled
)

// Names lists all faults.
func Names() []Name {
	return []Name{AnswerBeforeCommit, NoDeduplication, ResumeOneTooFar, OldEpochAccepted, JournalWithoutSync, ApprovalBeforeCommit, CancelForgotten}
}
