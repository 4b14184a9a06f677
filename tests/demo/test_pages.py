"""What the walk-through's administrator reads of a page: its forms, as a browser would send them untouched."""

from demo_project.pages import Form, forms_of


def test_each_control_sends_what_it_says() -> None:
    page = """
    <form action="/decide/">
      <input type="hidden" name="token" value="a&amp;b"><input name="empty">
      <input type="radio" name="side" value="client"><input type="radio" name="side" value="server" checked>
      <input type="checkbox" name="all" value="1">
      <select name="action"><option value="">-</option><option value="undo" selected>Undo</option></select>
      <textarea name="value">
"one &lt; two"</textarea>
      <input type="submit" name="save" value="Save"><button name="go" value="1">Go</button>
    </form>
    """

    assert forms_of(page) == [
        Form(
            action="/decide/",
            fields={"token": "a&b", "empty": "", "side": "server", "action": "undo", "value": '"one < two"'},
        )
    ]


def test_controls_belong_to_the_form_around_them_or_to_the_one_that_they_name() -> None:
    page = """
    <input name="nobody's" value="1"><textarea name="far" form="second">away</textarea>
    <form action="/first/"><input name="own" value="1"><input name="other" value="2" form="second"></form>
    <form action="/second/" id="second"><input name="near" value="3"></form>
    """

    assert forms_of(page) == [
        Form(action="/first/", fields={"own": "1"}),
        Form(action="/second/", fields={"far": "away", "other": "2", "near": "3"}),
    ]
