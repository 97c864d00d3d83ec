package admin

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"
)

const longestProfile = 5 * time.Minute

// profiles answers what is below /debug/pprof/. (Importing net/http/pprof registers it with
// http.DefaultServeMux as well, which nothing here serves.)
func profiles(w http.ResponseWriter, r *http.Request) {
	if text := r.URL.Query().Get("seconds"); text != "" {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds >= 0 && seconds <= longestProfile.Seconds()) { // NaN is refused, too
			problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("seconds must be a number up to %g", longestProfile.Seconds())}.write(w)
			return
		}
		end := time.Now().Add(time.Duration(seconds*float64(time.Second)) + writeTimeout)
		http.NewResponseController(w).SetWriteDeadline(end)
	}
	switch strings.TrimPrefix(r.URL.Path, "/debug/pprof/") {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}
