package server

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// leakRequest is what somebody found where everybody may read it.
type leakRequest struct {
	Keys   []string `json:"keys"`
	Source string   `json:"source"` // who found them
	URL    string   `json:"url"`    // where
}

// leakReply is the same whatever was reported: which of the keys were real is
// for their owners to know.
type leakReply struct {
	Received int `json:"received"`
}

// reportLeak serves POST /api/v1/leaked-keys. Possession is the proof.
func (s *Server) reportLeak(ctx context.Context, caller ident.Caller, req leakRequest) (leakReply, error) {
	err := s.Services.APIKeys.Leaked(ctx, apikeys.Leak{Credentials: req.Keys, Source: req.Source, URL: req.URL}, caller.Origin)
	return leakReply{Received: len(req.Keys)}, err
}

// releaseAPIKey serves POST /api/v1/api-keys/:id/release.
func (s *Server) releaseAPIKey(ctx context.Context, caller ident.Caller, req apiKeyByID) (apiKey, error) {
	k, err := s.Services.APIKeys.Release(ctx, caller, req.id)
	return apiKeyOf(k), err
}

// Everywhere waits until every replica has heard: changes.Feed.
type Everywhere interface {
	Everywhere(ctx context.Context) (changes.Heard, error)
}

// confirmTimeout is how long a request waits for the other replicas.
const confirmTimeout = 5 * time.Second

// waiting is a request that may ask to be answered when every replica has heard.
type waiting struct{ all bool }

func (w *waiting) read(i *input) error {
	v, err := i.value("wait")
	if err == nil && v != "" && v != "all" {
		err = fault.Refuse("wait", "must be all, or left out")
	}
	w.all = v == "all"
	return err
}

// endedEverywhere is the reply about something that has ended. It is empty, unless the
// caller waited and some replica did not confirm: it may go on until then.
type endedEverywhere struct {
	Complete    bool          `json:"complete"`
	Replicas    int           `json:"replicas"` // that were waited for, the answering one aside
	Unconfirmed []unconfirmed `json:"unconfirmed"`
}

type unconfirmed struct {
	Replica string    `json:"replica"`
	Until   timestamp `json:"believes_until"`
}

// status is 202 where the work is not done everywhere (RFC 9110 §15.3.3).
func (e endedEverywhere) status(usual int) int {
	if e.Complete {
		return usual
	}
	return 202
}

// everywhere answers once what has ended has ended everywhere, where that was
// asked for. It has ended here in any case, so a failure to find out is no failure.
func (s *Server) everywhere(ctx context.Context, w waiting) endedEverywhere {
	if !w.all {
		return endedEverywhere{Complete: true}
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	h, err := s.Services.Replicas.Everywhere(ctx)
	if err != nil {
		s.Log.ErrorContext(ctx, "replicas could not be asked to confirm", "err", err)
	}
	out := endedEverywhere{Complete: err == nil && len(h.Missing) == 0, Replicas: h.Replicas, Unconfirmed: []unconfirmed{}}
	for _, r := range h.Missing {
		out.Unconfirmed = append(out.Unconfirmed, unconfirmed{r.ID, timestamp{r.Until}})
	}
	return out
}
