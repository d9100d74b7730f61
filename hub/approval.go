package hub

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nave-dev/nave/api"
)

// ApprovalView is an approval with what people want to see of its session.
type ApprovalView struct {
	api.Approval
	AgentName string
	Key       string
	Cluster   api.ClusterID // where the workload is, or was, that asked last; empty when nobody knows any more
}

// ApprovalFilter selects approvals. Empty fields select all.
type ApprovalFilter struct {
	Agent   api.ObjectID
	Session api.SessionID
	Closed  bool // also those that are answered, expired or withdrawn
}

// AnswerRequest answers an approval.
type AnswerRequest struct {
	Org      api.OrgID
	Approval api.ApprovalID
	Approve  bool
	Option   string // id; empty: the first that allows, or rejects, once, or else always
	By       string // subject of the caller
	Reason   string // for the agent; at most 1 KiB of UTF-8
}

// Answer answers an approval, once, and returns when that is durable. The same answer again returns what was answered;
// another one is CodeConflict, one that comes too late CodeFailed.
func (h *Hub) Answer(ctx context.Context, r AnswerRequest) (ApprovalView, error) {
	if err := checkNote("reason", r.Reason); err != nil {
		return ApprovalView{}, err
	}
	if !utf8.ValidString(r.Reason) {
		return ApprovalView{}, api.Invalid("reason", "is not UTF-8")
	}
	shard, err := shardOfApproval(r.Approval)
	if err != nil {
		return ApprovalView{}, err
	}
	return ask(ctx, h, shard, "answer", func(reply func(ApprovalView, error)) event { return evAnswer{r, reply} })
}

func shardOfApproval(id api.ApprovalID) (api.Shard, error) {
	session, err := id.Session()
	if err != nil {
		return 0, &api.Error{Code: api.CodeInvalid, Field: "id", Err: err}
	}
	shard, err := session.Shard()
	if err != nil {
		return 0, api.Invalid("id", "%v", err)
	}
	return shard, nil
}

// Approval returns one.
func (h *Hub) Approval(ctx context.Context, org api.OrgID, id api.ApprovalID) (ApprovalView, error) {
	shard, err := shardOfApproval(id)
	if err != nil {
		return ApprovalView{}, err
	}
	session, _ := id.Session()
	var v ApprovalView
	found := false
	err = h.queryShard(ctx, shard, func(m *machine) {
		if s := m.sessions[session]; s != nil && s.Org == org {
			if a, ok := s.approval(id); ok {
				v, found = s.viewApproval(a), true
			}
		}
	})
	if err == nil && !found {
		err = noApproval(id)
	}
	return v, err
}

// Approvals lists approvals: the open ones, the oldest first, then those that ended, the latest first.
func (h *Hub) Approvals(ctx context.Context, org api.OrgID, f ApprovalFilter, pageSize int, pageToken string) ([]ApprovalView, string, error) {
	pages, err := NewPager(pageSize, pageToken, "approvals", string(org), fmt.Sprint(f))
	if err != nil {
		return nil, "", err
	}
	var all []ApprovalView
	err = h.query(ctx, func(m *machine) {
		for _, s := range m.asking {
			if s.Org != org || f.Agent != "" && s.Agent != f.Agent || f.Session != "" && s.ID != f.Session {
				continue
			}
			for _, a := range s.approvals {
				if (f.Closed || a.State == api.ApprovalOpen) && rank(a) > pages.After {
					all = append(all, s.viewApproval(a))
				}
			}
		}
	})
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(all, func(a, b ApprovalView) int { return strings.Compare(rank(a.Approval), rank(b.Approval)) })
	if len(all) > pages.Size {
		return all[:pages.Size], pages.Token(rank(all[pages.Size-1].Approval)), nil
	}
	return all, "", nil
}

// rank is an approval's place in the list, as a text that sorts.
func rank(a api.Approval) string {
	if a.State == api.ApprovalOpen {
		return fmt.Sprintf("0 %020d %s", a.AskedAt.UnixNano(), a.ID)
	}
	return fmt.Sprintf("1 %020d %s", math.MaxInt64-a.AnsweredAt.UnixNano(), a.ID)
}

func (s *session) viewApproval(a api.Approval) ApprovalView {
	v := ApprovalView{Approval: a, AgentName: s.AgentName, Key: s.Key}
	v.Options = slices.Clone(a.Options)
	switch {
	case s.Assignment != nil && s.Assignment.Epoch == a.Source.Epoch:
		v.Cluster = s.Assignment.Cluster
	case s.Epoch == a.Source.Epoch:
		v.Cluster = s.LastCluster
	}
	return v
}
