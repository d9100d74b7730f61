package acp

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/nave-dev/nave/api"
)

// permission translates a request for permission: what it says of the tool call is told, and what it asks comes back.
func (t *translator) permission(raw json.RawMessage) ([]said, PermissionRequest, error) {
	var p struct {
		ToolCall json.RawMessage `json:"toolCall"`
		Options  []struct {
			ID   string         `json:"optionId"`
			Name string         `json:"name"`
			Kind api.OptionKind `json:"kind"`
		} `json:"options"`
	}
	var ch change
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, PermissionRequest{}, err
	}
	if err := json.Unmarshal(p.ToolCall, &ch); err != nil {
		return nil, PermissionRequest{}, err
	}
	var r PermissionRequest
	for _, o := range p.Options {
		switch o.Kind {
		case api.OptionAllowOnce, api.OptionAllowAlways, api.OptionRejectOnce, api.OptionRejectAlways:
			if o.ID != "" && len(o.ID) <= maxName && len(r.Options) < api.MaxApprovalOptions {
				name := o.Name
				if name == "" {
					name = o.ID
				}
				r.Options = append(r.Options, api.ApprovalOption{ID: o.ID, Name: cut(name, maxName), Kind: o.Kind})
			}
		}
	}
	if len(r.Options) == 0 {
		return nil, r, errors.New("it offers no option of a kind that the protocol knows")
	}
	c, err := t.apply(ch)
	if err != nil {
		return nil, r, err
	}
	t.settle()
	r.Title, r.Kind, r.Tool, r.Fingerprint, r.Detail = c.title, c.kind, c.id, c.fingerprint(), c.detail()
	if r.Title == "" {
		r.Title = "a permission"
	}
	if r.Detail == "" {
		r.Detail = r.Title
	}
	return t.take(), r, nil
}

// detail says for people what the call would do.
func (c *toolCall) detail() string {
	l := limited{limit: api.MaxApprovalDetail}
	for _, part := range []string{c.places, c.input, c.content} {
		if part != "" {
			l.line()
			l.add(strings.TrimSuffix(part, "\n"))
		}
	}
	return l.String()
}
