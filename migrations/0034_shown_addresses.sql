-- Of the addresses of webhooks more was shown than is known to be no secret.
update webhooks
set shown_address = substring(shown_address from '^[a-z]+://[^/]+') || '/…';
