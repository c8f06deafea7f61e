"""What a page says when something cannot be done."""

from chalicelib.errors import CarryoutError, Invalid, RequestError, TooMany
from chalicelib.languages import Language


def complaint(error: CarryoutError, language: Language) -> str:
    """Say in the user's language what is wrong.

    Args:
        error: Any error of ours; one without words of its own is told in general ones.
        language: The user's.
    """
    if isinstance(error, TooMany):
        return _too_many(error, language)
    if isinstance(error, Invalid) and error.faults:
        flaws = flaws_of(language)
        told = [flaws[fault.pointer] for fault in error.faults if fault.pointer in flaws]
        return " ".join(dict.fromkeys(told)) or language.gettext("That is not valid.")
    if isinstance(error, RequestError):
        not_now = language.gettext("This is not possible at the moment.")
        return _complaints(language).get(error.code, not_now)
    return language.gettext("Something went wrong on our side.")


def _complaints(language: Language) -> dict[str, str]:
    return {
        "unauthenticated": language.gettext("Please sign in first."),
        "forbidden": language.gettext("You may not do this. If you came from a form, reload it."),
        "wrong_password": language.gettext("The password is wrong."),
        "link_over": language.gettext("This link was used already, or is too old."),
        "address_unconfirmed": language.gettext("Confirm your mail address first."),
        "registration_closed": language.gettext("Registration is closed."),
        "not_found": language.gettext("There is nothing here, or it is not yours to see."),
        "username_taken": language.gettext("This username is taken."),
        "email_taken": language.gettext("This mail address is already in use."),
        "task_in_progress": language.gettext("An export is in progress already."),
        "task_ended": language.gettext("The task has ended already."),
        "task_active": language.gettext("There is nothing to try again."),
        "not_ready": language.gettext("The export is not ready yet."),
        "no_file": language.gettext("This export has no file."),
        "mail_in_progress": language.gettext("The message is on its way already."),
        "export_gone": language.gettext("The file has expired or was deleted."),
        "body_too_large": language.gettext("That is too large."),
        "invalid": language.gettext("That is not valid."),
        "unavailable": language.gettext("We cannot do this right now; try again in a moment."),
    }


def flaws_of(language: Language) -> dict[str, str]:
    """What is to be said of each field of a form, by its JSON pointer."""
    return {
        "/username": language.gettext(
            "A username has 1 to 64 of the letters A to Z, digits, _ and -."
        ),
        "/email": language.gettext("Enter a mail address such as susan@example.com."),
        "/password": language.gettext("A password has 8 to 128 characters."),
        "/language": language.gettext("Choose one of the languages."),
        "/body": language.gettext("A post has 1 to 10,000 characters."),
    }


def _too_many(error: TooMany, language: Language) -> str:
    wait = {"wait": language.duration(error.retry_after_s)}
    if error.code == "cooling_down":
        return (
            language.gettext(
                "The last export finished a short while ago. You can ask for the next one in"
                " %(wait)s."
            )
            % wait
        )
    return language.gettext("Too many attempts. Try again in %(wait)s.") % wait
