package state

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/hub/store/recordv1"
)

// keyBytes is the length of a session's key: /nave/shards/000/s/default/ and an id.
const keyBytes = 53

// recordBytes is the length of the record of a dormant session that had one epoch and one checkpoint.
func recordBytes() int {
	id, epoch := strings.Repeat("0", 26), &recordv1.Epoch{Incarnation: 1, N: 1}
	return proto.Size(&recordv1.Session{Id: id, Org: "default", Agent: id, AgentName: agentName, Key: "s10000", Intent: "Run", Phase: "Dormant",
		CreatedAt: timestamppb.New(time.Unix(1764000000, 123456789)), LastSequence: 1, HubNumber: 4, Epoch: epoch, LastCluster: id,
		TurnEpoch: epoch, TurnAttempt: 1, TurnNumber: 5, Checkpoints: []string{strings.Repeat("0", 64)}})
}
