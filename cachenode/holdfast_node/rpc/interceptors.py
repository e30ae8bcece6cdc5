"""Around every unary call of our own services: errors become statuses, defects are caught, time is taken.

A handler raises HoldfastError and nothing else on purpose. Anything else is a defect: logged with its
stack, answered INTERNAL with outcome unknown, because nobody can say how far it had come.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from holdfast.errors import HoldfastError, Reason, error
from holdfast.types import Outcome

from holdfast_node.metrics import Traffic
from holdfast_node.rpc import status

log = logging.getLogger(__name__)

OURS = "/holdfast.v1."
Handler = Callable[[Any, Any], Awaitable[Any]]


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Wraps the unary handlers of holdfast.v1; streams look after themselves."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Looks up the handler and puts the guard around it."""
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or handler.unary_unary is None or not method.startswith(OURS):
            return handler
        return grpc.unary_unary_rpc_method_handler(
            self._guarded(method.removeprefix(OURS), handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _guarded(self, method: str, inner: Handler) -> Handler:
        async def guarded(request: Any, context: Any) -> Any:
            began = time.monotonic()
            try:
                return await inner(request, context)
            except HoldfastError as problem:
                failure = problem
            except Exception:
                log.exception("rpc.failed method=%s", method)
                failure = error(
                    Reason.INTERNAL,
                    f"{method} failed inside the node; its log has the stack: please report it",
                    outcome=Outcome.UNKNOWN,
                )
            finally:
                self._traffic.called(method, time.monotonic() - began)
            self._traffic.failed(failure.reason)
            return await context.abort(status.code_of(failure), str(failure), status.trailers(failure))

        return guarded
